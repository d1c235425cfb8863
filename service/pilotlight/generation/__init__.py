"""resolve → render → submit → parse: what every endpoint that generates text shares."""

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
    Calls,
    ChatPrompt,
    Form,
    GenerationParams,
    Prompt,
    TextPrompt,
    TokensPrompt,
)

__all__ = [
    "Begun",
    "Calls",
    "ChatPrompt",
    "Ended",
    "Events",
    "FirstToken",
    "Form",
    "GenerationEvent",
    "GenerationParams",
    "Generator",
    "Prompt",
    "TextPrompt",
    "TokensPrompt",
    "total_usage",
]
