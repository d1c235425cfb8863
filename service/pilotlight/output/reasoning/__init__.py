"""Reasoning: how models mark it, and the parser that separates it from content."""

from pilotlight.output.reasoning.formats import (
    FORMATS,
    ReasoningFormat,
    closed,
    detect,
    interrupts_content,
    markers,
    opened,
)
from pilotlight.output.reasoning.parser import ReasoningParser, ReasoningTracker

__all__ = [
    "FORMATS",
    "ReasoningFormat",
    "ReasoningParser",
    "ReasoningTracker",
    "closed",
    "detect",
    "interrupts_content",
    "markers",
    "opened",
]
