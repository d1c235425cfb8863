"""An `emit` for engines with one output for each input."""
# ruff: noqa: S101 - the suite asserts

import threading
from array import array
from collections.abc import Callable

from pilotlight_backend.testing.conformance.listener import DEADLINE
from pilotlight_backend.types import Embedded, EmbedEvent, Failed, Finish, RankEvent, Scored

SLOW = 0.01
"""Seconds that a slow listener takes for an output."""


class PoolingListener:
    """An `emit` that records events. A *slow* one delays the engine until `hurry`."""

    def __init__(self, *, slow: bool = False) -> None:
        self.events: list[EmbedEvent | RankEvent] = []
        self.threads: set[int] = set()
        self._changed = threading.Condition()
        self._hurry = threading.Event()
        if not slow:
            self._hurry.set()

    def __call__(self, event: EmbedEvent | RankEvent) -> None:
        """Take an event; the engine's thread calls it."""
        with self._changed:
            self.threads.add(threading.get_ident())
            self.events.append(event)
            self._changed.notify_all()
        if isinstance(event, Embedded | Scored):
            self._hurry.wait(SLOW)

    def hurry(self) -> None:
        """Stop delaying the engine."""
        self._hurry.set()

    def wait_started(self) -> None:
        """Wait until the request has begun."""
        self._wait_for(lambda: bool(self.events))

    def end(self) -> Finish | Failed:
        """Wait for the last event and return it."""
        self._wait_for(lambda: bool(self._ends()))
        return self._ends()[0]

    def finish(self) -> Finish:
        """Wait for the end, and return it as no failure."""
        end = self.end()
        assert isinstance(end, Finish), end
        return end

    def vectors(self) -> "list[array[float]]":
        """Wait for the end, and return the vectors."""
        assert self.finish().reason == "stop"
        return [event.vector for event in self.events if isinstance(event, Embedded)]

    def scores(self) -> list[float]:
        """Wait for the end, and return the scores."""
        assert self.finish().reason == "stop"
        return [event.score for event in self.events if isinstance(event, Scored)]

    def _ends(self) -> list[Finish | Failed]:
        return [event for event in self.events if isinstance(event, Finish | Failed)]

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, DEADLINE), f"stuck after {self.events[-3:]}"
