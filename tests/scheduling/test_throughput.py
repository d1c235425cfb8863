"""The Retry-After of many requests that an engine runs in one batch."""

from contextlib import ExitStack

import pytest

from pilotlight.retry_after import LONGEST, SHORTEST, UNKNOWN_QUEUE
from pilotlight.scheduling.throughput import Throughput
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def throughput(clock: Clock) -> Throughput:
    return Throughput(100, clock)


def answer(throughput: Throughput, clock: Clock, count: int, seconds: float) -> None:
    """Let *count* requests come at once, and be answered together after *seconds*."""
    with ExitStack() as crowd:
        for _ in range(count):
            crowd.enter_context(throughput.request())
        clock.now += seconds


def test_nothing_is_known_before_the_first_answer(throughput, clock):
    """A request that still runs gives no estimate yet."""
    with throughput.request():
        clock.now += 30
        assert throughput.seconds_for(10) == UNKNOWN_QUEUE


def test_requests_that_end_in_one_moment_tell_how_long_they_took(throughput, clock):
    """Ten in two seconds are five a second, even if they end at the same time."""
    answer(throughput, clock, 10, 2.0)

    assert throughput.seconds_for(50) == pytest.approx(10.0)


def test_more_than_the_window_in_one_moment_is_measured_all_the_same(clock):
    """Of two bursts the time between them counts."""
    throughput = Throughput(20, clock)
    answer(throughput, clock, 20, 4.0)
    answer(throughput, clock, 20, 4.0)

    assert throughput.seconds_for(20) == pytest.approx(4.0)


def test_time_without_requests_does_not_count(throughput, clock):
    """To wait for company is not to be slow."""
    answer(throughput, clock, 10, 2.0)
    clock.now += 3600
    answer(throughput, clock, 10, 2.0)
    clock.now += 3600

    assert throughput.seconds_for(50) == pytest.approx(10.0)


def test_engine_that_slows_down_is_seen_while_it_does(throughput, clock):
    """The time since the last response counts while a request waits."""
    answer(throughput, clock, 10, 2.0)
    with throughput.request():
        clock.now += 8.0

        assert throughput.seconds_for(10) == pytest.approx(10.0)


def test_who_leaves_is_not_answered(throughput, clock):
    """A request that is given up, or fails, took time and was no answer."""
    answer(throughput, clock, 1, 2.0)

    def leave() -> None:
        with throughput.request():
            clock.now += 2.0
            raise ValueError("gone")

    with pytest.raises(ValueError, match="gone"):
        leave()

    assert throughput.seconds_for(5) == pytest.approx(20.0)


@pytest.mark.parametrize(("requests", "told"), [(1, SHORTEST), (100_000, LONGEST)])
def test_what_is_told_is_what_clients_obey(throughput, clock, requests, told):
    """No less than a second, and no more than SDKs wait."""
    answer(throughput, clock, 10, 2.0)

    assert throughput.seconds_for(requests) == told
