"""One answer, from token pieces to events: text, then reasoning, then tool calls."""

from collections.abc import Callable, Sequence

from pilotlight.output.events import ContentDelta, OutputEvent, ReasoningDelta
from pilotlight.output.reasoning import ReasoningParser
from pilotlight.output.text import TextDecoder
from pilotlight.output.tool_calls import Schemas, ToolCallParser


class OutputParser:
    """The three parsers in a row; a stage that a model has no format for is left out."""

    def __init__(
        self,
        *,
        reasoning: str | None,
        opened: bool,
        tool_calls: str | None,
        new_id: Callable[[], str],
        schemas: Schemas | None = None,
    ) -> None:
        """*reasoning* and *tool_calls* name formats; *opened*: the prompt began a thought.

        *schemas* are those of the parameters of the functions that the request lists.
        """
        self._text = TextDecoder()
        self._reasoning = ReasoningParser(reasoning, opened=opened) if reasoning else None
        self._tool_calls = ToolCallParser(tool_calls, new_id, schemas) if tool_calls else None
        self._thinking = bool(reasoning) and opened
        self._reasoning_tokens = 0

    @property
    def reasoning_tokens(self) -> int:
        """Tokens fed so far that did not lead to anything but reasoning."""
        return self._reasoning_tokens

    @property
    def thinking(self) -> bool:
        """Whether what was told last is reasoning."""
        return self._thinking

    @property
    def pending(self) -> bool:
        """Whether any stage holds back what it may still tell."""
        stages = (self._text, self._reasoning, self._tool_calls)
        return any(stage is not None and stage.pending for stage in stages)

    def feed(self, piece: bytes) -> list[OutputEvent]:
        """Return what one token's bytes settle."""
        events = self._route(self._text.feed(piece))
        self._reasoning_tokens += self._thinking
        return events

    def flush(self, *, cut: bool = False) -> list[OutputEvent]:
        """Return what was held back at every stage; *cut*: the answer's length ended it."""
        events = self._route(self._text.flush())
        if self._reasoning:
            events += self._call(self._reasoning.flush())
        if self._tool_calls:
            events += self._tool_calls.flush(cut=cut)
        return events

    def _route(self, text: str) -> list[OutputEvent]:
        if not text:
            return []
        if self._reasoning:
            return self._call(self._reasoning.feed(text))
        return self._call([ContentDelta(text)])

    def _call(self, deltas: Sequence[ReasoningDelta | ContentDelta]) -> list[OutputEvent]:
        """Send content through the tool calls' parser."""
        if deltas:
            self._thinking = isinstance(deltas[-1], ReasoningDelta)
        if self._tool_calls is None:
            return list(deltas)
        events: list[OutputEvent] = []
        for delta in deltas:
            if isinstance(delta, ContentDelta):
                events += self._tool_calls.feed(delta.text)
            else:
                events.append(delta)
        return events
