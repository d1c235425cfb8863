"""The events that one choice's output consists of, for every endpoint.

Deltas carry new text only and are never empty. A tool call is one `ToolCallStart`, then its
arguments in pieces; calls are numbered from 0 in the order in which they start.
"""

from typing import TypeAlias

from msgspec import Struct

from pilotlight_backend import Token


class ReasoningDelta(Struct, frozen=True, gc=False):
    """More reasoning."""

    text: str


class ContentDelta(Struct, frozen=True, gc=False):
    """More content; *tokens* are those that completed it, if log probabilities are requested."""

    text: str
    tokens: tuple[Token, ...] = ()


class ToolCallStart(Struct, frozen=True, gc=False):
    """The model calls the function *name*."""

    index: int
    id: str
    name: str


class ToolCallArguments(Struct, frozen=True, gc=False):
    """More of the JSON text of a call's arguments, as the model wrote it."""

    index: int
    text: str


OutputEvent: TypeAlias = ReasoningDelta | ContentDelta | ToolCallStart | ToolCallArguments
