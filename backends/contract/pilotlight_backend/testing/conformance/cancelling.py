"""Cancelling: a normal path, at any moment and from any thread."""
# ruff: noqa: S101 - the suite asserts

import threading

from pilotlight_backend.protocols import Engine, Ticket
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures
from pilotlight_backend.testing.conformance.listener import (
    DEADLINE,
    Listener,
    eventually,
    fill_slots,
    request_of,
    run,
    submit,
)
from pilotlight_backend.types import EngineEvent, LoadOptions, Token

LONG = 100
AFTERWARDS = 8
"""Tokens that may still come after a cancel: a step under way ends, and may yield several."""


class CancelConformance(ConformanceFixtures):
    """`Ticket.cancel`."""

    def test_running_request_ends_at_the_next_step(self, engine: Engine, prompt: list[int]) -> None:
        """A request that is cancelled while it decodes ends soon and frees its slot."""
        one = submit(engine, request_of(prompt, LONG), slow=True)
        one.listener.wait_tokens()
        one.ticket.cancel()
        seen = len(one.listener.tokens)
        one.listener.hurry()
        finish = one.listener.finish()
        assert finish.reason == "cancelled"
        assert len(one.listener.tokens) <= seen + AFTERWARDS
        assert len(one.listener.tokens) <= finish.usage.completion_tokens
        assert eventually(lambda: engine.stats().slots_busy == 0)

    def test_queued_request_never_starts(
        self, engine: Engine, prompt: list[int], options: LoadOptions
    ) -> None:
        """A request that is cancelled in the queue ends at once, while others still run."""
        running = fill_slots(engine, prompt, options.parallel, LONG)
        queued = submit(engine, request_of(prompt, LONG))
        queued.ticket.cancel()
        finish = queued.listener.finish()
        assert finish.reason == "cancelled"
        assert queued.listener.events == [finish]
        assert finish.usage.prompt_tokens == len(prompt)
        assert finish.usage.completion_tokens == 0
        assert all(len(one.listener.tokens) < LONG for one in running)
        for one in running:
            one.ticket.cancel()
            one.listener.hurry()
            one.listener.finish()
        assert eventually(lambda: engine.stats().slots_busy == engine.stats().queued == 0)

    def test_second_cancel_does_nothing(self, engine: Engine, prompt: list[int]) -> None:
        """Cancelling twice, and after the end, changes nothing."""
        one = submit(engine, request_of(prompt, LONG), slow=True)
        one.listener.wait_tokens()
        one.ticket.cancel()
        one.ticket.cancel()
        one.listener.hurry()
        one.listener.finish()
        events = list(one.listener.events)
        one.ticket.cancel()
        run(engine, request_of(prompt, 2))
        assert one.listener.events == events

    def test_cancel_after_the_end_harms_nobody(self, engine: Engine, prompt: list[int]) -> None:
        """The ticket of a finished request does not touch the one that has its slot now."""
        first = submit(engine, request_of(prompt, 2))
        first.listener.finish()
        second = submit(engine, request_of(prompt, 20), slow=True)
        second.listener.wait_tokens()
        first.ticket.cancel()
        second.listener.hurry()
        assert second.listener.finish().reason == "length"

    def test_emit_may_cancel(self, engine: Engine, prompt: list[int]) -> None:
        """A ticket can be cancelled on the engine's own thread, from inside `emit`."""
        listener = CancellingListener()
        listener.ticket = engine.submit(request_of(prompt, LONG), listener)
        listener.has_ticket.set()
        assert listener.finish().reason == "cancelled"
        assert len(listener.tokens) <= 1 + AFTERWARDS

    def test_cancelled_slots_serve_again(
        self, engine: Engine, prompt: list[int], options: LoadOptions
    ) -> None:
        """After many cancelled requests the engine answers as before."""
        expected = run(engine, request_of(prompt, 5)).tokens
        for _ in range(options.parallel * 2):
            one = submit(engine, request_of(prompt, LONG))
            one.ticket.cancel()
            one.listener.wait()
        assert run(engine, request_of(prompt, 5)).tokens == expected


class CancellingListener(Listener):
    """A listener that cancels its own request at the first token."""

    def __init__(self) -> None:
        super().__init__()
        self.ticket: Ticket | None = None
        self.has_ticket = threading.Event()

    def __call__(self, event: EngineEvent) -> None:
        """Take an event, and cancel at a token."""
        super().__call__(event)
        if isinstance(event, Token) and self.has_ticket.wait(DEADLINE) and self.ticket is not None:
            self.ticket.cancel()
