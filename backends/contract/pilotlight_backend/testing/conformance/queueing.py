"""Queueing: more requests than slots."""
# ruff: noqa: S101 - the suite asserts

from pilotlight_backend.protocols import Engine
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures
from pilotlight_backend.testing.conformance.listener import (
    Listener,
    eventually,
    fill_slots,
    request_of,
    submit,
)
from pilotlight_backend.types import EngineEvent, LoadOptions, Started

ROUNDS = 3
LENGTH = 5
LONG = 100


class QueueingConformance(ConformanceFixtures):
    """`Engine.submit`, for requests that wait."""

    def test_all_are_answered_in_order(
        self, engine: Engine, prompt: list[int], options: LoadOptions
    ) -> None:
        """Three times as many requests as slots are all answered, first come, first started."""
        count = options.parallel * ROUNDS
        started: list[int] = []
        listeners = [OrderListener(number, started) for number in range(count)]
        for listener in listeners:
            engine.submit(request_of(prompt, LENGTH), listener)
        for listener in listeners:
            assert listener.finish().usage.completion_tokens == LENGTH
        assert started == list(range(count))

    def test_no_more_run_than_there_are_slots(
        self, engine: Engine, prompt: list[int], options: LoadOptions
    ) -> None:
        """With all slots taken, one more request waits, and the figures say so."""
        running = fill_slots(engine, prompt, options.parallel, LONG)
        waiting = submit(engine, request_of(prompt, 1))
        assert eventually(lambda: engine.stats().queued == 1)
        assert engine.stats().slots_busy == options.parallel
        assert not waiting.listener.events
        for one in running:
            one.ticket.cancel()
            one.listener.hurry()
        finish = waiting.listener.finish()
        assert finish.timings.queue > 0


class OrderListener(Listener):
    """A listener that notes its number in *started* when its request starts."""

    def __init__(self, number: int, started: list[int]) -> None:
        super().__init__()
        self._number = number
        self._started = started

    def __call__(self, event: EngineEvent) -> None:
        """Take an event, and note a start."""
        if isinstance(event, Started):
            self._started.append(self._number)
        super().__call__(event)
