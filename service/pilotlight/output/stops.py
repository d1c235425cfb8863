r"""Stop strings: end the output at the first one in its content.

Content is searched as one text, wherever tokens cut it. Reasoning and tool calls are not searched,
as in vLLM and OpenAI's models: with the stop `"\n"` the line break behind `<think>` would end every
output.
"""

from collections.abc import Iterable, Sequence

from pilotlight.output.events import ContentDelta, OutputEvent
from pilotlight.output.text import Markers


class StopFilter:
    """Passes events on, up to the first of *stops* in the content.

    Content that may become a stop is held back, with the events behind it, so that events keep
    their order. The stop and all content behind it are dropped; other events that interrupt the
    stop stay. The stop that is complete first wins; of two that end at the same character, the
    longer. An empty stop raises `ValueError`.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = Markers(stops) if stops else None
        self._held = ""
        """The text of all content in the queue."""
        self._queue: list[OutputEvent] = []
        self._stopped: str | None = None

    @property
    def stopped(self) -> str | None:
        """The stop that was found, or None."""
        return self._stopped

    def feed(self, events: Sequence[OutputEvent]) -> Sequence[OutputEvent]:
        """Return the events that are certain now; none after a stop."""
        if self._stops is None:
            return events
        passed: list[OutputEvent] = []
        for event in events:
            if self._stopped is not None:
                break
            self._queue.append(event)
            if isinstance(event, ContentDelta):
                self._held += event.text
                end, self._stopped = self._stops.find(self._held)
                passed += self._release(end)
            elif not self._held:
                passed += self._release(0)
        if self._stopped is not None:
            passed += _without_content(self._queue)
            self._queue.clear()
        return passed

    def flush(self) -> Sequence[OutputEvent]:
        """Return the events that are held back: no more content follows."""
        rest, self._queue, self._held = self._queue, [], ""
        return rest

    def _release(self, length: int) -> list[OutputEvent]:
        """Take the first *length* characters of content, and the events between, off the queue.

        If a delta is split, its first part keeps the tokens.
        """
        self._held = self._held[length:]
        for index, event in enumerate(self._queue):
            if not isinstance(event, ContentDelta):
                continue
            if len(event.text) > length:
                first = [ContentDelta(event.text[:length], event.tokens)] if length else []
                rest = ContentDelta(event.text[length:], () if length else event.tokens)
                released = [*self._queue[:index], *first]
                self._queue = [rest, *self._queue[index + 1 :]]
                return released
            length -= len(event.text)
        released, self._queue = self._queue, []
        return released


def _without_content(events: Iterable[OutputEvent]) -> list[OutputEvent]:
    return [event for event in events if not isinstance(event, ContentDelta)]
