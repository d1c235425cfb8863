"""How fast an engine answers that takes whatever requests wait in one go."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LEAST, MOST = 1.0, 60.0
"""Seconds that a refused client is told to wait; over 60 some SDKs do not."""
UNKNOWN = 5.0
"""Seconds where nothing was measured yet."""


class Throughput:
    """Requests answered by the time in which there were any. Used on one loop.

    Not `Speed`, which measures over the last few: here dozens end in one moment, and only the time
    between such moments tells how long they take. The time in which nobody asks does not count, so
    that what was measured holds for the crowd that comes after it.
    """

    def __init__(self, window: int, clock: Callable[[], float]) -> None:
        """*window* is how many answers it is measured over; more than can end in one moment."""
        self._clock = clock
        self._under_way = 0
        self._busy = 0.0
        """Seconds in which there were requests, up to `_since`."""
        self._since = 0.0
        self._answered: deque[float] = deque([0.0], maxlen=window + 1)
        """When requests were answered, in seconds of the time that counts; at first its begin."""

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count one request while the block runs, as answered unless that raises."""
        self._count(1)
        try:
            yield
            self._answered.append(self._busy_by(self._clock()))
        finally:
            self._count(-1)

    def seconds_for(self, requests: int) -> float:
        """Return the seconds in which so many are likely to be answered, fit for Retry-After."""
        answered = len(self._answered) - 1
        if not answered:
            return UNKNOWN
        span = self._busy_by(self._clock()) - self._answered[0]
        return min(max(requests * span / answered, LEAST), MOST)

    def _count(self, change: int) -> None:
        now = self._clock()
        self._busy, self._since = self._busy_by(now), now
        self._under_way += change

    def _busy_by(self, now: float) -> float:
        return self._busy + (now - self._since if self._under_way else 0.0)
