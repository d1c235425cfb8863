"""How to load a model, and how far a load is."""

from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct

FlashAttention: TypeAlias = Literal["auto", "on", "off"]
Speculation: TypeAlias = Literal["none", "ngram", "draft"]
CacheType: TypeAlias = Literal[
    "f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"
]
"""llama.cpp's names of what a KV cache may consist of (`kv_cache_types` in common/arg.cpp)."""


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
    draft_model: Path | None = None
    """The file of the smaller model that drafts, with `draft`."""
    draft_max: int = 63
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
