"""Closing: every request ends, and then nothing is left."""
# ruff: noqa: S101 - the suite asserts

import threading

import pytest

from pilotlight_backend.errors import EngineClosed
from pilotlight_backend.protocols import Engine
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures
from pilotlight_backend.testing.conformance.listener import (
    Listener,
    check_order,
    fill_slots,
    request_of,
    submit,
    within,
)
from pilotlight_backend.types import Failed, LoadOptions

LONG = 200


class CloseConformance(ConformanceFixtures):
    """`Engine.close`."""

    def test_idle_engine_closes_twice(self, own_engine: Engine) -> None:
        """An engine closes, and a second close does nothing."""
        within(own_engine.close)
        within(own_engine.close)

    def test_requests_end_as_closed(
        self, own_engine: Engine, prompt: list[int], options: LoadOptions
    ) -> None:
        """A close ends running and queued requests before it returns, each with one event."""
        running = fill_slots(own_engine, prompt, options.parallel, LONG)
        queued = [submit(own_engine, request_of(prompt, LONG)) for _ in range(2)]
        within(own_engine.close)
        for one in (*running, *queued):
            end = one.listener.events[-1]
            assert isinstance(end, Failed), end
            assert isinstance(end.error, EngineClosed)
            check_order(one.listener.events)
        assert all(len(one.listener.events) == 1 for one in queued)

    def test_closed_engine_takes_no_request(self, own_engine: Engine, prompt: list[int]) -> None:
        """A submit after the close raises `EngineClosed`, and its `emit` is never called."""
        within(own_engine.close)
        listener = Listener()
        with pytest.raises(EngineClosed):
            own_engine.submit(request_of(prompt), listener)
        assert not listener.events

    def test_tickets_outlive_the_engine(self, own_engine: Engine, prompt: list[int]) -> None:
        """Cancelling after the close does nothing."""
        one = submit(own_engine, request_of(prompt, LONG), slow=True)
        one.listener.wait_tokens()
        within(own_engine.close)
        events = list(one.listener.events)
        one.ticket.cancel()
        assert one.listener.events == events

    def test_two_threads_may_close(self, own_engine: Engine, prompt: list[int]) -> None:
        """Closes at the same time both return, and a request still ends once."""
        one = submit(own_engine, request_of(prompt, LONG), slow=True)
        one.listener.wait_tokens()
        other = threading.Thread(target=own_engine.close, daemon=True)
        other.start()
        within(own_engine.close)
        within(other.join)
        one.listener.wait()
        check_order(one.listener.events)
