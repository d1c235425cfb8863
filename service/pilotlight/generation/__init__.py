"""One request's way through a loaded model: parameters → prompt → guides → engine → events."""

from pilotlight.generation.events import (
    Begun,
    Ended,
    Events,
    FirstToken,
    GenerationEvent,
    total_usage,
)
from pilotlight.generation.generator import Generator
from pilotlight.generation.params import (
    ChatPrompt,
    GenerationParams,
    Prompt,
    StructuredOutput,
    TextPrompt,
    TokensPrompt,
    ToolCalling,
)

__all__ = [
    "Begun",
    "ChatPrompt",
    "Ended",
    "Events",
    "FirstToken",
    "GenerationEvent",
    "GenerationParams",
    "Generator",
    "Prompt",
    "StructuredOutput",
    "TextPrompt",
    "TokensPrompt",
    "ToolCalling",
    "total_usage",
]
