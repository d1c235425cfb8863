"""The values that pass between the service and a backend: immutable, plain, free of HTTP."""

from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct, field

from pilotlight_backend.errors import BackendError
from pilotlight_backend.guide import Guide

BASIC_SAMPLING = frozenset(
    {
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "presence_penalty",
        "frequency_penalty",
        "repeat_penalty",
        "logit_bias",
        "seed",
    }
)
"""The fields of `SamplingParams` that every backend honours."""


class ModelFacts(Struct, frozen=True, kw_only=True):
    """What a model's files say about it, read from headers alone."""

    path: Path
    architecture: str
    """The field's lower-case word for the family: `qwen3`, `llama`, `gemma3`."""
    name: str | None = None
    context_length: int
    """Tokens one sequence may hold: as trained when probed, as configured on a loaded engine."""
    chat_template: str | None = None
    """Jinja source, or None where the model is no chat model."""
    bos_token: str = ""
    eos_token: str = ""
    add_bos: bool = False
    """Whether a prompt of plain text, not rendered by the template, starts with `bos_token`."""
    size_bytes: int
    """What a load reads from disk."""
    kv_bytes_per_token: int = 0
    """KV cache per token of one sequence; 0 where unknown."""
    state_bytes: int = 0
    """What one sequence takes however long it is: a recurrent state."""
    step_bytes: int = 0
    """Working memory of a step for each of its tokens, beside the scores."""
    score_bytes: int = 0
    """Working memory of a step for each pair of one of its tokens and a token of the context."""
    vocabulary_size: int = 0
    """How many tokens there are, on a loaded engine; 0 where it does not say."""
    embedding_length: int = 0
    """Numbers of the vectors that it makes of texts; 0 where it writes answers instead."""
    control_names: frozenset[str] = frozenset()
    """On a loaded engine, the names of the tokens that steer and are no text: `<|im_end|>`."""
    sampling: frozenset[str] = BASIC_SAMPLING
    """On a loaded engine, the fields of `SamplingParams` that it honours; it refuses others."""

    @property
    def embeds(self) -> bool:
        """Whether it makes vectors of texts: its engine is an `EmbeddingEngine`."""
        return self.embedding_length > 0


class BakedPrompt(Struct, frozen=True, kw_only=True):
    """A file with a prompt's state, and what the prompt's text was made with."""

    path: Path
    template: str
    """A digest of the chat template in force; a file that was made with another one is stale."""


class PromptCacheOptions(Struct, frozen=True, kw_only=True):
    """Where states of prompts are kept after their slot was taken."""

    memory_bytes: int = 0
    """Memory for them; 0 keeps none there."""
    storage: str | None = None
    """A folder, or an address such as `s3://bucket/folder`, that outlives the process."""
    storage_bytes: int | None = None
    """What all files together may take; None for any size."""
    ttl: float | None = None
    """Seconds after its last use when a file is deleted; None for never."""


class LoadOptions(Struct, frozen=True, kw_only=True):
    """How to load a model. The defaults suit a small model on a small machine."""

    parallel: int = 4
    """Slots: sequences that decode together. Of a model that embeds as many as fit a step do."""
    context_length: int | None = None
    """Tokens for each slot, at most what was trained; None means at most 4096."""
    threads: int | None = None
    """Threads for computing; None leaves the choice to the backend."""
    gpu_layers: int = 0
    """Layers to place on a GPU where the build has one; -1 means all."""
    execution_provider: str | None = None
    """Where ONNX Runtime computes (`cuda`); None means where the model's own configuration says.
    Backends that know no such word pass over it."""
    chunk: int = 512
    """Prompt tokens evaluated in one step at the most: the longest that a running stream waits."""
    baked: BakedPrompt | None = None
    """A prompt to start from. What does not fit is ignored with a warning, and the load goes on."""
    prompt_cache: PromptCacheOptions = PromptCacheOptions()
    """Honoured by engines that can give a slot's state out, and ignored by the others."""


class LoadProgress(Struct, frozen=True):
    """How far a load is. *bytes_read* of *bytes_total* are in memory; *phase* says what runs."""

    phase: Literal["read", "load", "warm"]
    bytes_read: int
    bytes_total: int


DRY_SEQUENCE_BREAKERS = ("\n", ":", '"', "*")
"""llama.cpp's own default."""


class SamplingParams(Struct, frozen=True, kw_only=True):
    """How the next token is chosen. A neutral value switches its stage off.

    The stages work in this order, llama.cpp's own: logit_bias, penalties, DRY, top_n_sigma, top_k,
    typical_p, top_p, min_p, XTC, temperature. Mirostat takes the place of those between DRY and
    temperature.
    """

    temperature: float = 1.0
    """0 is greedy: the most likely token, whatever the other stages say."""
    dynatemp_range: float = 0.0
    """Above 0 the temperature is between `temperature` less and plus this, by the entropy."""
    dynatemp_exponent: float = 1.0
    """How the share of the possible entropy, raised to this, becomes the temperature."""
    top_k: int = 0
    """0 keeps every token."""
    top_p: float = 1.0
    min_p: float = 0.0
    top_n_sigma: float = 0.0
    """Standard deviations of the logits below the largest; 0 or less keeps every token."""
    typical_p: float = 1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    """Above 0.5 XTC is off: two tokens cannot both be so likely."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    """Tokens that the three penalties look back on, the prompt's end included; -1: the context."""
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    """Tokens that DRY looks back on, the prompt's end included; -1: the context."""
    dry_sequence_breakers: tuple[str, ...] = DRY_SEQUENCE_BREAKERS
    mirostat: int = 0
    """0, 1 or 2, the version."""
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits before any other stage; keys are token ids."""
    seed: int | None = None
    """The same seed, request and build give the same tokens; None draws one."""


class GenerateRequest(Struct, frozen=True, kw_only=True):
    """One sequence to generate. Text stops are the service's: it cancels the ticket."""

    prompt: tuple[int, ...]
    """Token ids, at least one."""
    max_tokens: int
    """At least 1. The context's end also ends the sequence, with reason `length`."""
    sampling: SamplingParams = SamplingParams()
    stop_token_ids: frozenset[int] = frozenset()
    """End the sequence like an end-of-generation token; the token itself is not emitted."""
    ignore_eos: bool = False
    """Never choose an end-of-generation token, unless the guide allows no other one."""
    min_tokens: int = 0
    """Tokens before which neither such a token nor one of `stop_token_ids` is chosen, unless the
    guide allows no other one."""
    logprobs: int | None = None
    """With each token, its log probability and those of this many likeliest; None: no such."""
    guide: Guide | None = None
    """Restricts which tokens may be chosen; this request's own, for it keeps state."""
    scope: str = ""
    """Whose cached tokens it may use, in slots and in the prompt cache: those of its own scope and
    the baked prompt's."""
    shares_prompt: bool = False
    """Other requests with this very prompt are submitted with it, `n` answers to one question: the
    engine evaluates the prompt once for all, even where one of them has to wait for that. Each
    evaluates a few tokens at the prompt's end, for its own logits. It is evaluated again where the
    model's cache can be neither copied nor cut back, and where requests that came between them
    needed the slot that had it."""


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens of one request. *completion_tokens* counts every sampled token, the ending one too."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """Of the prompt, how many were not evaluated again."""


class Timings(Struct, frozen=True, kw_only=True):
    """Seconds that one request spent waiting for a slot, on its prompt, and on its answer.

    To wait until another request has read the prompt that they share counts as `queue`.
    """

    queue: float
    prefill: float
    decode: float


FinishReason: TypeAlias = Literal["stop", "length", "cancelled"]


class Started(Struct, frozen=True, gc=False, tag=True):
    """The request has left the queue and has a slot, and the prompt that it shares, if it does."""

    prompt_tokens: int
    cached_tokens: int


class Candidate(Struct, frozen=True, gc=False):
    """A token that could have come, and the natural logarithm of its probability."""

    id: int
    piece: bytes
    logprob: float


class Token(Struct, frozen=True, gc=False, tag=True):
    """One sampled token and the bytes it stands for, special tokens spelled out.

    The bytes of one character may be spread over several tokens.
    """

    id: int
    piece: bytes
    logprob: float | None = None
    """Where the request asks for it; by the model's own distribution, before any stage."""
    candidates: tuple[Candidate, ...] = ()
    """The likeliest tokens, the likeliest first."""


class Finish(Struct, frozen=True, tag=True):
    """The request ended as asked: by a stop token, by its length, or by its ticket."""

    reason: FinishReason
    usage: Usage
    timings: Timings


class Failed(Struct, frozen=True, tag=True):
    """The request ended by a fault."""

    error: BackendError


EngineEvent: TypeAlias = Started | Token | Finish | Failed
"""A request's events: `Started` at most once, `Token`s, then exactly one `Finish` or `Failed`."""


class Embedded(Struct, frozen=True, gc=False, tag=True):
    """An input's vector, of length 1, in 32-bit floats."""

    vector: "array[float]"


EmbedEvent: TypeAlias = Started | Embedded | Finish | Failed
"""An embedding request's events: `Started` at most once, an `Embedded` for each input, in the order
of the inputs, then exactly one `Finish` or `Failed`. Its usage has no completion tokens."""


class Step(Struct, frozen=True, gc=False):
    """A step that an engine has begun and not ended. Its *number* is no other step's."""

    number: int
    tokens: int
    """Tokens of prompts that it evaluates: the more, the longer it may take."""


class PromptCacheStats(Struct, frozen=True, kw_only=True):
    """What the prompt cache holds, and counts since the load. Bytes are those of states."""

    memory_bytes: int = 0
    memory_entries: int = 0
    storage_bytes: int = 0
    storage_entries: int = 0
    memory_hits: int = 0
    """Requests that started from a state in memory."""
    memory_tokens: int = 0
    """Prompt tokens that were not evaluated for it."""
    storage_hits: int = 0
    """Requests that started from a state which was read from storage for them."""
    storage_tokens: int = 0
    saves: int = 0
    """States that were taken from slots."""
    restores: int = 0
    """States that were put into slots."""
    evictions: int = 0
    """States that made room in memory for others."""
    stored: int = 0
    """Files that were written."""
    storage_errors: int = 0


class EngineStats(Struct, frozen=True, kw_only=True):
    """A snapshot of an engine; totals count since it was loaded."""

    slots: int
    slots_busy: int
    queued: int
    kv_tokens: int
    """Tokens held in the KV cache, those kept for reuse included."""
    kv_tokens_running: int = 0
    """Of these, those in slots that have a request."""
    kv_capacity: int
    prompt_tokens: int
    """Evaluated, so without the cached ones."""
    cached_tokens: int
    completion_tokens: int
    steps: int
    under_way: tuple[Step, ...] = ()
    """What is being computed: a step that stays here for long is one that hangs."""
    dead: bool = False
    """Whether nothing will be answered any more: the engine's thread or process has ended."""
    prompt_cache: PromptCacheStats = PromptCacheStats()
