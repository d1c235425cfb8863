"""The contract between Pilotlight and its backends: a hook, protocols, values and errors.

A plugin's hook returns a `Backend`. Its `probe` reads a file's headers and returns `ModelFacts`;
its `load` returns an `Engine`, an `EmbeddingEngine` for a model that embeds, or a `RankingEngine`
for one that scores documents. `Engine.submit` queues a `GenerateRequest`, returns a `Ticket`, and
emits `Started`, then a `Token` for each sampled token, then one `Finish` or `Failed`.

The service owns everything above token ids: chat templates, stop strings, tool calls, JSON Schema,
HTTP. The backend owns everything below: tokenizing, slots, the KV cache, batches, sampling.

**Threads.** `load` blocks, on a thread of the service's. After it the service calls engines from
any thread, its event loop's included: `submit`, `embed`, `rank`, `stats` and `Ticket.cancel` return
at once. An engine emits events and calls guides on threads of its own. `emit` may be slow and may
call the engine, so an engine emits no token under a lock that `submit`, `stats` or `cancel` takes.

**Units.** Times are seconds, sizes are bytes, lengths are tokens, log probabilities are natural
logarithms.

**Errors.** `submit` refuses a request that can never run; a later error ends it with `Failed`. An
error of one request ends no other request. `errors` has the tree.

The conformance suite in `testing.conformance` checks all of it. `validation`, `capacity`,
`placement`, `token_sampler` and their neighbours are what every backend needs in the same way.
"""

from pilotlight_backend.adapters import Adapter, AdapterFacts
from pilotlight_backend.errors import (
    BackendError,
    BakingRefused,
    ContextLengthExceeded,
    EngineClosed,
    GuideFailed,
    InferenceFailed,
    InsufficientMemory,
    InvalidParameter,
    LoadFailed,
    ModelFileInvalid,
    ModelUnsupported,
)
from pilotlight_backend.guide import Forced, ForcingGuide, Guide, Vocabulary
from pilotlight_backend.hookspecs import PROJECT, hookimpl, hookspec
from pilotlight_backend.image import Image
from pilotlight_backend.protocols import (
    AdaptingBackend,
    AdaptingEngine,
    Backend,
    BakingEngine,
    BaseEngine,
    CachingEngine,
    EmbeddingEngine,
    Engine,
    RankingEngine,
    RemoteEngine,
    SeeingBackend,
    SeeingEngine,
    SelectiveBackend,
    Ticket,
)
from pilotlight_backend.types import (
    AttentionFacts,
    BakedPrompt,
    CacheType,
    Candidate,
    Embedded,
    EmbedEvent,
    EngineEvent,
    EngineStats,
    Failed,
    Finish,
    FinishReason,
    FlashAttention,
    GenerateRequest,
    LoadOptions,
    LoadProgress,
    Modality,
    ModelFacts,
    PromptCacheOptions,
    PromptCacheStats,
    PromptPart,
    RankEvent,
    Relevance,
    SamplingParams,
    Scored,
    Started,
    Step,
    Timings,
    Token,
    TokenizedPairs,
    Usage,
)

__all__ = [
    "PROJECT",
    "Adapter",
    "AdapterFacts",
    "AdaptingBackend",
    "AdaptingEngine",
    "AttentionFacts",
    "Backend",
    "BackendError",
    "BakedPrompt",
    "BakingEngine",
    "BakingRefused",
    "BaseEngine",
    "CacheType",
    "CachingEngine",
    "Candidate",
    "ContextLengthExceeded",
    "EmbedEvent",
    "Embedded",
    "EmbeddingEngine",
    "Engine",
    "EngineClosed",
    "EngineEvent",
    "EngineStats",
    "Failed",
    "Finish",
    "FinishReason",
    "FlashAttention",
    "Forced",
    "ForcingGuide",
    "GenerateRequest",
    "Guide",
    "GuideFailed",
    "Image",
    "InferenceFailed",
    "InsufficientMemory",
    "InvalidParameter",
    "LoadFailed",
    "LoadOptions",
    "LoadProgress",
    "Modality",
    "ModelFacts",
    "ModelFileInvalid",
    "ModelUnsupported",
    "PromptCacheOptions",
    "PromptCacheStats",
    "PromptPart",
    "RankEvent",
    "RankingEngine",
    "Relevance",
    "RemoteEngine",
    "SamplingParams",
    "Scored",
    "SeeingBackend",
    "SeeingEngine",
    "SelectiveBackend",
    "Started",
    "Step",
    "Ticket",
    "Timings",
    "Token",
    "TokenizedPairs",
    "Usage",
    "Vocabulary",
    "hookimpl",
    "hookspec",
]
