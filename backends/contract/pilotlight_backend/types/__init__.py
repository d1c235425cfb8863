"""The values that pass between the service and a backend. All are immutable, none knows HTTP.

Sizes are bytes, times are seconds, lengths are tokens.
"""

from pilotlight_backend.types.events import (
    Candidate,
    Embedded,
    EmbedEvent,
    EngineEvent,
    Failed,
    Finish,
    FinishReason,
    RankEvent,
    Scored,
    Started,
    Timings,
    Token,
    Usage,
)
from pilotlight_backend.types.facts import (
    AttentionFacts,
    Modality,
    ModelFacts,
    Relevance,
)
from pilotlight_backend.types.loading import (
    BakedPrompt,
    CacheType,
    FlashAttention,
    LoadOptions,
    LoadProgress,
    PromptCacheOptions,
    Speculation,
)
from pilotlight_backend.types.requests import (
    BASIC_SAMPLING,
    DRY_SEQUENCE_BREAKERS,
    GenerateRequest,
    PromptPart,
    SamplingParams,
    TokenizedPairs,
)
from pilotlight_backend.types.statistics import (
    EngineStats,
    PromptCacheStats,
    Step,
)

__all__ = [
    "BASIC_SAMPLING",
    "DRY_SEQUENCE_BREAKERS",
    "AttentionFacts",
    "BakedPrompt",
    "CacheType",
    "Candidate",
    "EmbedEvent",
    "Embedded",
    "EngineEvent",
    "EngineStats",
    "Failed",
    "Finish",
    "FinishReason",
    "FlashAttention",
    "GenerateRequest",
    "LoadOptions",
    "LoadProgress",
    "Modality",
    "ModelFacts",
    "PromptCacheOptions",
    "PromptCacheStats",
    "PromptPart",
    "RankEvent",
    "Relevance",
    "SamplingParams",
    "Scored",
    "Speculation",
    "Started",
    "Step",
    "Timings",
    "Token",
    "TokenizedPairs",
    "Usage",
]
