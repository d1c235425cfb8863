"""Parses the output of one choice: token bytes to text, reasoning, content and tool calls."""

from collections.abc import Callable, Sequence

from pilotlight.output.events import (
    ContentDelta,
    OutputEvent,
    ReasoningDelta,
    ToolCallArguments,
)
from pilotlight.output.reasoning import ReasoningParser, interrupts_content
from pilotlight.output.text import TextDecoder
from pilotlight.output.tool_calls import Schemas, ToolCallParser


class OutputParser:
    """Chains the decoder and two parsers; a model without a format has no such parser."""

    def __init__(
        self,
        *,
        reasoning: str | None,
        opened: bool,
        tool_calls: str | None,
        new_id: Callable[[], str],
        schemas: Schemas | None = None,
    ) -> None:
        """*reasoning* and *tool_calls* name formats; *opened*: the prompt opened the reasoning.

        *schemas* are the parameter schemas of the functions in the request.
        """
        self._text = TextDecoder()
        self._reasoning = ReasoningParser(reasoning, opened=opened) if reasoning else None
        self._tool_calls = ToolCallParser(tool_calls, new_id, schemas) if tool_calls else None
        self._interrupts = bool(tool_calls and reasoning and interrupts_content(reasoning))
        self._in_reasoning = bool(reasoning) and opened
        self._reasoning_tokens = 0

    @property
    def reasoning_tokens(self) -> int:
        """Tokens so far whose text is reasoning."""
        return self._reasoning_tokens

    @property
    def in_reasoning(self) -> bool:
        """Whether the last event is reasoning."""
        return self._in_reasoning

    @property
    def in_call(self) -> bool:
        """Whether the next text belongs to a call that was emitted."""
        return self._tool_calls is not None and self._tool_calls.in_call

    @property
    def pending(self) -> bool:
        """Whether any stage holds text back."""
        stages = (self._text, self._reasoning, self._tool_calls)
        return any(stage is not None and stage.pending for stage in stages)

    def feed(self, piece: bytes) -> list[OutputEvent]:
        """Return the events that one token's bytes complete."""
        events = self._parse_reasoning(self._text.feed(piece))
        self._reasoning_tokens += self._in_reasoning
        return events

    def flush(self, *, cut: bool = False) -> list[OutputEvent]:
        """Return the events for all text held back; *cut*: `max_tokens` ended the output."""
        events = self._parse_reasoning(self._text.flush())
        if self._reasoning:
            events += self._parse_calls(self._reasoning.flush())
        if self._tool_calls:
            events += self._tool_calls.flush(cut=cut)
        return events

    def _parse_reasoning(self, text: str) -> list[OutputEvent]:
        if not text:
            return []
        if self._reasoning is None:
            return self._parse_calls([ContentDelta(text)])
        if not self._interrupts:
            return self._parse_calls(self._reasoning.feed(text))
        events: list[OutputEvent] = []
        for character in text:  # so that a call begins and ends between two of them
            _extend(events, self._parse_character(self._reasoning, character))
        return events

    def _parse_character(self, reasoning: ReasoningParser, character: str) -> list[OutputEvent]:
        """Return the events of *character*. Within a call, markers of reasoning are text."""
        if self._tool_calls is not None and self._tool_calls.in_call:
            return list(self._tool_calls.feed(character))
        return self._parse_calls(reasoning.feed(character))

    def _parse_calls(self, deltas: Sequence[ReasoningDelta | ContentDelta]) -> list[OutputEvent]:
        """Pass content through the tool-call parser."""
        if deltas:
            self._in_reasoning = isinstance(deltas[-1], ReasoningDelta)
        if self._tool_calls is None:
            return list(deltas)
        events: list[OutputEvent] = []
        for delta in deltas:
            if isinstance(delta, ContentDelta):
                events += self._tool_calls.feed(delta.text)
            else:
                events.append(delta)
        return events


def _extend(events: list[OutputEvent], more: Sequence[OutputEvent]) -> None:
    """Add *more* to *events*; neighbours that are pieces of the same text are one event."""
    for event in more:
        joined = _joined(events[-1], event) if events else None
        if joined is None:
            events.append(event)
        else:
            events[-1] = joined


def _joined(one: OutputEvent, other: OutputEvent) -> OutputEvent | None:
    if isinstance(one, ContentDelta) and isinstance(other, ContentDelta):
        return ContentDelta(one.text + other.text)
    if isinstance(one, ReasoningDelta) and isinstance(other, ReasoningDelta):
        return ReasoningDelta(one.text + other.text)
    if isinstance(one, ToolCallArguments) and isinstance(other, ToolCallArguments):
        return ToolCallArguments(one.index, one.text + other.text)
    return None
