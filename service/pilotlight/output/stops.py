r"""Stop strings end an answer where its content has them.

They bind what the client reads as the answer: its content, one text however it was cut. Reasoning
and tool calls are not searched, as in vLLM and OpenAI's models: the line break behind `<think>`
would end every answer at `"\n"`.
"""

from collections.abc import Iterable, Sequence

from pilotlight.output.events import ContentDelta, OutputEvent
from pilotlight.output.text import Markers


class StopFilter:
    """Passes an answer's events on, up to the first of *stops* in its content.

    Content that may become a stop is held back, and what follows it waits behind it, so that
    events keep their order. A stop, and all content behind it, is dropped; other events in the
    midst of it stay. The stop that is complete first wins; of two that end at the same character,
    the longer. An empty stop raises `ValueError`.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = Markers(stops) if stops else None
        self._held = ""
        """The content in the queue."""
        self._queue: list[OutputEvent] = []
        self._stopped: str | None = None

    @property
    def stopped(self) -> str | None:
        """The stop that was met, or None so far."""
        return self._stopped

    def feed(self, events: Sequence[OutputEvent]) -> Sequence[OutputEvent]:
        """Return what *events* settle; nothing after a stop."""
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
        """Return what is held back, as no content follows that would make it a stop."""
        rest, self._queue, self._held = self._queue, [], ""
        return rest

    def _release(self, length: int) -> list[OutputEvent]:
        """Take the first *length* characters of content, and what stands between, off the queue.

        A delta that is split keeps its tokens in its first part.
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
