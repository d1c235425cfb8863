"""Measure how fast an engine answers that takes all waiting requests in one batch."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pilotlight.retry_after import UNKNOWN_QUEUE, bounded


class Throughput:
    """Requests answered per second of busy time. Used on one loop.

    `ReleaseRate` measures over the last few requests, which does not work here: dozens end with one
    batch, and only the time between batches says how long they take. Idle time does not count, so
    the measured rate holds for the next burst.
    """

    def __init__(self, window: int, clock: Callable[[], float]) -> None:
        """*window* is the number of answers to measure over; more than can end with one batch."""
        self._clock = clock
        self._in_flight = 0
        self._busy = 0.0
        """Seconds with requests in flight, up to `_since`."""
        self._since = 0.0
        self._answered: deque[float] = deque([0.0], maxlen=window + 1)
        """Busy time at which each request was answered; first the start."""

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count one request while the context lasts, as answered unless that raises."""
        self._count(1)
        try:
            yield
            self._answered.append(self._busy_by(self._clock()))
        finally:
            self._count(-1)

    def seconds_for(self, requests: int) -> float:
        """Return the seconds in which so many are likely to be answered, for Retry-After."""
        answered = len(self._answered) - 1
        if not answered:
            return UNKNOWN_QUEUE
        span = self._busy_by(self._clock()) - self._answered[0]
        return bounded(requests * span / answered)

    def _count(self, change: int) -> None:
        now = self._clock()
        self._busy, self._since = self._busy_by(now), now
        self._in_flight += change

    def _busy_by(self, now: float) -> float:
        return self._busy + (now - self._since if self._in_flight else 0.0)
