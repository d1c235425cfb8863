"""The values that pass between the service and a backend. All are immutable, none knows HTTP.

Sizes are bytes, times are seconds, lengths are tokens.
"""

from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct, field

from pilotlight_backend.adapters import Adapter
from pilotlight_backend.errors import BackendError
from pilotlight_backend.guide import Guide
from pilotlight_backend.image import Image

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


Modality: TypeAlias = Literal["text", "image"]
"""A kind of what a prompt may have."""
PromptPart: TypeAlias = int | Image
"""A token id, or an image, which takes as many tokens as the engine says."""
Relevance: TypeAlias = Literal["logit", "probability"]
"""What a score is: any number, whose sigmoid is a probability, or a probability itself."""
FlashAttention: TypeAlias = Literal["auto", "on", "off"]
Speculation: TypeAlias = Literal["none", "ngram"]
CacheType: TypeAlias = Literal[
    "f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"
]
"""llama.cpp's names of what a KV cache may consist of (`kv_cache_types` in common/arg.cpp)."""


class AttentionFacts(Struct, frozen=True, kw_only=True):
    """What attention takes of memory with each of the `LoadOptions` for it.

    From it `capacity` computes `kv_bytes_per_token`, `step_bytes` and `score_bytes`.
    """

    keys: int
    """Numbers that the KV cache keeps of a token as keys, over all layers."""
    values: int
    """The same as values."""
    padded_values: int
    """The same without flash attention: rows of all layers are then as long as the longest."""
    scores: int
    """Numbers of a step for each pair of its tokens and a token of the context, without flash
    attention: scores and masks."""
    masks: int
    """Of these, masks."""
    step_bytes: int
    """`ModelFacts.step_bytes` with flash attention: more, where scores were held in the place of
    something smaller."""


class ModelFacts(Struct, frozen=True, kw_only=True):
    """What the headers of a model's files say, and on a loaded engine what is in force."""

    path: Path
    architecture: str
    """The model family, in lower case: `qwen3`, `llama`, `gemma3`."""
    name: str | None = None
    context_length: int
    """Tokens of a sequence: as trained when probed, as configured on a loaded engine."""
    chat_template: str | None = None
    """Jinja source; None for a model without one."""
    bos_token: str = ""
    eos_token: str = ""
    add_bos: bool = False
    """Whether a plain-text prompt, without the template, starts with `bos_token`."""
    size_bytes: int
    """Bytes that a load reads from disk."""
    kv_bytes_per_token: int = 0
    """KV cache of one token of a sequence; 0 if unknown."""
    attention: AttentionFacts | None = None
    """What the memory depends on, for a backend with options for attention."""
    state_bytes: int = 0
    """Memory of a sequence of any length: a recurrent state."""
    step_bytes: int = 0
    """Working memory of a step for each of its tokens, without the attention scores."""
    score_bytes: int = 0
    """Working memory of a step for each pair of a token of the step and a token of the context."""
    vocabulary_size: int = 0
    """Tokens in the vocabulary, on a loaded engine; 0 if it does not report them."""
    embedding_length: int = 0
    """Dimensions of the model's vectors; 0 for a model that does not embed."""
    relevance: Relevance | None = None
    """What the scores of a model that ranks are; None for a model that does not rank."""
    control_names: frozenset[str] = frozenset()
    """On a loaded engine, the names of its control tokens, such as `<|im_end|>`."""
    sampling: frozenset[str] = BASIC_SAMPLING
    """On a loaded engine, the fields of `SamplingParams` that it honours; it refuses the others."""

    projector: Path | None = None
    """The file of the projector, for a model that sees."""
    projector_bytes: int = 0
    """Bytes of that file; `size_bytes` has them too."""
    input_modalities: tuple[Modality, ...] = ("text",)
    """What prompts may have; with "image" its engine is a `SeeingEngine`."""
    image_bytes: int = 0
    """Working memory of an image that is encoded, and of those kept encoded."""

    @property
    def sees(self) -> bool:
        """Whether prompts may have images."""
        return "image" in self.input_modalities

    @property
    def embeds(self) -> bool:
        """Whether the model returns vectors: its engine is an `EmbeddingEngine`."""
        return self.embedding_length > 0

    @property
    def ranks(self) -> bool:
        """Whether the model scores documents: its engine is a `RankingEngine`."""
        return self.relevance is not None

    @property
    def generates(self) -> bool:
        """Whether the model generates text: its engine is an `Engine`."""
        return not (self.embeds or self.ranks)


class BakedPrompt(Struct, frozen=True, kw_only=True):
    """The file of a prompt's state, and the chat template that rendered the prompt."""

    path: Path
    template: str
    """Digest of the chat template in force; a file that was baked with another one is stale."""


class PromptCacheOptions(Struct, frozen=True, kw_only=True):
    """Where states of prompts are kept after their slot was taken."""

    memory_bytes: int | None = 0
    """Memory for them; 0 keeps none there, None takes a quarter of what the load leaves."""
    storage: str | None = None
    """A folder, or an address such as `s3://bucket/folder`, that outlives the process."""
    storage_bytes: int | None = None
    """What all files together may take; None for any size."""
    ttl: float | None = None
    """Seconds after its last use when a file is deleted; None for never."""


class LoadOptions(Struct, frozen=True, kw_only=True):
    """How to load a model; the defaults suit a small model on a small machine."""

    parallel: int = 4
    """Slots: sequences that decode in one batch. A model that embeds fills a step instead."""
    context_length: int | None = None
    """Tokens for each slot, at most what was trained; None means at most 4096."""
    threads: int | None = None
    """Compute threads; None: the backend chooses."""
    gpu_layers: int = 0
    """Layers on the GPU, if the build has one; -1: all."""
    execution_provider: str | None = None
    """ONNX Runtime's execution provider (`cuda`); None: the one in the model's configuration. Other
    backends ignore it."""
    chunk: int = 512
    """The most prompt tokens in one step: it bounds how long running streams wait for a token."""
    deterministic: bool = False
    """Promise that a response does not depend on the requests beside it. Backends that always keep
    the promise ignore it, like the four options below that they have no use for."""
    flash_attention: FlashAttention = "auto"
    """`auto`: where the model and the device have it."""
    cache_type_k: CacheType = "f16"
    cache_type_v: CacheType = "f16"
    kv_unified: bool = False
    """Whether all slots share one KV cache, instead of having one of `context_length` each."""
    projector: Path | None = None
    """The file of the projector of a model that sees, in the place of the one beside the model."""
    speculation: Speculation = "none"
    """How tokens are drafted, so that one step evaluates several; backends without it refuse."""
    draft_max: int = 32
    """Drafted tokens of a step, those of all slots."""
    ngram_min: int = 3
    """Tokens that have to be the same where `ngram` finds a draft."""
    baked: BakedPrompt | None = None
    """A prompt to start from. A file that does not fit is ignored with a warning."""
    prompt_cache: PromptCacheOptions = PromptCacheOptions()
    """Honoured by engines that can give a slot's state out, and ignored by the others."""


class LoadProgress(Struct, frozen=True):
    """Progress of a load: its phase, and how many bytes of the files are in memory."""

    phase: Literal["read", "load", "warm"]
    bytes_read: int
    bytes_total: int


DRY_SEQUENCE_BREAKERS = ("\n", ":", '"', "*")
"""llama.cpp's own default."""


class SamplingParams(Struct, frozen=True, kw_only=True):
    """How to sample the next token. A field's default switches its stage off.

    The stages run in llama.cpp's order: logit_bias, penalties, DRY, top_n_sigma, top_k, typical_p,
    top_p, min_p, XTC, temperature. Mirostat replaces the stages between DRY and temperature.
    `validation` has the bounds.
    """

    temperature: float = 1.0
    """0 is greedy: the likeliest token after logit_bias, penalties and DRY."""
    dynatemp_range: float = 0.0
    """Above 0 the entropy sets the temperature, within this distance of `temperature`."""
    dynatemp_exponent: float = 1.0
    """The power of the normalized entropy that sets the temperature in that range."""
    top_k: int = 0
    """0 keeps every token."""
    top_p: float = 1.0
    min_p: float = 0.0
    top_n_sigma: float = 0.0
    """Keeps tokens within so many standard deviations of the largest logit; 0 or less keeps all."""
    typical_p: float = 1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    """Above 0.5 XTC is off: no two tokens can both be that likely."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    """Window of the three penalties, prompt included; -1: the context length."""
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    """Window of DRY, prompt included; -1: the context length."""
    dry_sequence_breakers: tuple[str, ...] = DRY_SEQUENCE_BREAKERS
    mirostat: int = 0
    """The version, 1 or 2; 0 is off."""
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits before any other stage, by token id."""
    seed: int | None = None
    """The same seed, request and build give the same tokens; None draws a seed."""


class GenerateRequest(Struct, frozen=True, kw_only=True):
    """One sequence to generate. The service finds stop strings, and cancels the ticket."""

    prompt: tuple[PromptPart, ...]
    """Token ids, at least one; images among them if `ModelFacts.sees`."""
    max_tokens: int
    """At least 1. A full context ends the sequence too, both with reason `length`."""
    sampling: SamplingParams = SamplingParams()
    stop_token_ids: frozenset[int] = frozenset()
    """End the sequence as an end-of-generation token does; the token is not emitted."""
    ignore_eos: bool = False
    """Sample no end-of-generation token, unless the guide allows no other token."""
    min_tokens: int = 0
    """Sample no such token and none of `stop_token_ids` before so many tokens, unless the guide
    allows no other token."""
    logprobs: int | None = None
    """Return log probabilities: of each token, and of so many likeliest tokens. None: neither."""
    guide: Guide | None = None
    """Restricts the tokens. It keeps state, so each request has its own."""
    adapters: tuple[Adapter, ...] = ()
    """The adapters that change the model's weights for it, each at most once; an engine that is no
    `AdaptingEngine` refuses them. Cached tokens of requests with others are not used."""
    scope: str = ""
    """Whose cached tokens it may use, in slots and in the prompt cache: those of its own scope and
    the baked prompt's. What comes before the first NUL is the scope's owner."""
    shares_prompt: bool = False
    """Other requests with this very prompt are submitted with it, `n` answers to one question: the
    engine evaluates the prompt once for all, even where one of them has to wait for that. Each
    evaluates a few tokens at the prompt's end, for its own logits. It is evaluated again where the
    model's cache can be neither copied nor cut back, and where requests that came between them
    needed the slot that had it."""


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens of one request. *completion_tokens* counts every sampled token, also the last one."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """Prompt tokens that were not evaluated again."""
    drafted_tokens: int = 0
    """Tokens that were drafted by speculation; *completion_tokens* has those that were accepted."""
    accepted_tokens: int = 0


class Timings(Struct, frozen=True, kw_only=True):
    """Seconds of one request in the queue, in prefill and in decode.

    Waiting for another request to evaluate a shared prompt counts as `queue`.
    """

    queue: float
    restore: float = 0.0
    """Reading a cached state from storage and putting it into the slot, before the prefill."""
    prefill: float
    decode: float


FinishReason: TypeAlias = Literal["stop", "length", "cancelled"]


class Started(Struct, frozen=True, gc=False, tag=True):
    """The request has a slot. A shared prompt has been evaluated by then."""

    prompt_tokens: int
    cached_tokens: int
    restore: float = 0.0
    """As in `Timings`."""


class Candidate(Struct, frozen=True, gc=False):
    """An alternative token and its log probability."""

    id: int
    piece: bytes
    logprob: float


class Token(Struct, frozen=True, gc=False, tag=True):
    """One sampled token and its bytes; special tokens are spelled out.

    A character's UTF-8 bytes may be spread over several tokens.
    """

    id: int
    piece: bytes
    logprob: float | None = None
    """If requested; from the model's distribution, before the guide and the stages of sampling."""
    candidates: tuple[Candidate, ...] = ()
    """The likeliest tokens in descending order."""


class Finish(Struct, frozen=True, tag=True):
    """The request ended by a stop token, by its length, or by its ticket."""

    reason: FinishReason
    usage: Usage
    timings: Timings


class Failed(Struct, frozen=True, tag=True):
    """The request ended by an error."""

    error: BackendError


EngineEvent: TypeAlias = Started | Token | Finish | Failed
"""A request's events: `Started` at most once, `Token`s, then exactly one `Finish` or `Failed`."""


class Embedded(Struct, frozen=True, gc=False, tag=True):
    """An input's vector: 32-bit floats, normalized to length 1."""

    vector: "array[float]"


EmbedEvent: TypeAlias = Started | Embedded | Finish | Failed
"""An embedding request's events: at most one `Started`, an `Embedded` for each input in order, then
exactly one `Finish` or `Failed`. Its usage has no completion tokens."""


class Scored(Struct, frozen=True, gc=False, tag=True):
    """How relevant a pair's document is to its query: the higher, the more."""

    score: float


RankEvent: TypeAlias = Started | Scored | Finish | Failed
"""A ranking request's events: at most one `Started`, a `Scored` for each pair in order, then
exactly one `Finish` or `Failed`. Its usage has no completion tokens."""


class TokenizedPairs(Struct, frozen=True):
    """A query with each of several documents, as token ids.

    A pair's document is the tokens between those before it and the `tail`; a pair is shortened by
    dropping tokens in front of the tail.
    """

    pairs: list[list[int]]
    frame: int
    """Tokens of a pair with an empty document."""
    tail: int
    """How many of these are behind the document."""


class Step(Struct, frozen=True, gc=False):
    """A step that an engine has begun and not ended. Its *number* is unique in the engine."""

    number: int
    tokens: int
    """Prompt tokens that it evaluates: the more, the longer it may take."""


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
    storage_reads: int = 0
    """Files whose state was read into memory."""
    storage_evictions: int = 0
    """Files that were deleted: they were not used for long, or made room for others."""
    storage_errors: int = 0
    """Calls to the storage that failed."""


class EngineStats(Struct, frozen=True, kw_only=True):
    """A snapshot of an engine; totals count from its load."""

    slots: int
    slots_busy: int
    queued: int
    kv_tokens: int
    """Tokens in the KV cache, including those kept for reuse."""
    kv_tokens_running: int = 0
    """Those of them in busy slots."""
    kv_capacity: int
    prompt_tokens: int
    """Evaluated prompt tokens, without cached ones."""
    cached_tokens: int
    completion_tokens: int
    steps: int
    drafts: int = 0
    """Drafts that were verified."""
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    """Those of them that became tokens of a completion."""
    under_way: tuple[Step, ...] = ()
    """The running steps; one that stays too long hangs."""
    images_encoded: int = 0
    """Images that were encoded."""
    images_reused: int = 0
    """Images whose encoding was still kept from an earlier request."""
    dead: bool = False
    """Whether the engine's thread or process has ended, so that no request can finish."""
    prompt_cache: PromptCacheStats = PromptCacheStats()
