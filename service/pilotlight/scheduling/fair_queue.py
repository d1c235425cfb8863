"""Who is let through to a model's engine, and when: before any of a request's work is done.

The engine itself answers in the order in which requests reach it. So those that it has no slot for
wait here, by caller, and each caller in turn gets the next place: whoever sends a thousand requests
at once waits for them, and nobody else does.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pilotlight.errors import QueueFull

AHEAD = 1
"""Requests that an engine is given beyond its slots, so that a slot that is free is not idle until
the event loop has heard of it."""

LEAST, MOST = 1.0, 60.0
"""Seconds that a refused client is told to wait; over 60 some SDKs do not."""
UNKNOWN = 5.0
"""Seconds where nothing was measured yet."""

_MEASURED = 32
"""Requests that gave their places back, which the speed is measured over."""


class FairQueue:
    """Requests that wait, by caller. Pure: it neither waits nor wakes."""

    def __init__(self) -> None:
        self._callers: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._places: dict[asyncio.Future[None], int] = {}

    def __len__(self) -> int:
        return len(self._places)

    @property
    def places(self) -> int:
        """How many places all of them need."""
        return sum(self._places.values())

    def __contains__(self, waiter: "asyncio.Future[None]") -> bool:
        return waiter in self._places

    def add(self, caller: str, waiter: "asyncio.Future[None]", places: int) -> None:
        """Put *waiter*, who needs *places*, behind the others of *caller*."""
        self._callers.setdefault(caller, deque()).append(waiter)
        self._places[waiter] = places

    def first(self) -> int | None:
        """Return how many places the next one needs; None where nobody waits."""
        for waiters in self._callers.values():
            return self._places[waiters[0]]
        return None

    def pop(self) -> "asyncio.Future[None]":
        """Take the next one out; its caller's others come after everybody else's next."""
        caller, waiters = self._callers.popitem(last=False)
        waiter = waiters.popleft()
        del self._places[waiter]
        if waiters:
            self._callers[caller] = waiters
        return waiter

    def remove(self, caller: str, waiter: "asyncio.Future[None]") -> None:
        """Take one out that does not wait any longer."""
        waiters = self._callers[caller]
        waiters.remove(waiter)
        del self._places[waiter]
        if not waiters:
            del self._callers[caller]


class Speed:
    """How fast places are given back, as measured over the last ones."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._returned: deque[tuple[float, int]] = deque(maxlen=_MEASURED)
        """When places were given back, and how many."""

    def note(self, places: int = 1) -> None:
        """Note that a request gave its *places* back."""
        self._returned.append((self._clock(), places))

    def forget(self) -> None:
        """Begin anew: nobody was served any more, and to wait for that is not to be slow."""
        self._returned.clear()

    def seconds_for(self, places: int) -> float:
        """Return the seconds in which so many places are likely to be given back."""
        if len(self._returned) < 2:  # noqa: PLR2004 - one moment is no span
            return UNKNOWN
        (began, _), *later = self._returned
        seconds = places * (self._clock() - began) / sum(returned for _, returned in later)
        return min(max(seconds, LEAST), MOST)


class Turnstile:
    """The way to one loaded model's engine. Used on one loop."""

    def __init__(self, slots: int, *, max_queue: int, clock: Callable[[], float]) -> None:
        self._slots = slots
        self._capacity = slots + AHEAD
        self._max_queue = max_queue
        self._taken = 0
        self._queue = FairQueue()
        self._speed = Speed(clock)

    @property
    def waiting(self) -> int:
        """How many requests are not let through yet."""
        return len(self._queue)

    @asynccontextmanager
    async def turn(self, caller: str, places: int) -> AsyncIterator[None]:
        """Wait for *caller*'s turn, and hold *places* of the engine while the context lasts.

        Raises `QueueFull` at once where as many wait as may. Who leaves while waiting is out of the
        queue at once.
        """
        places = min(places, self._capacity)  # more than it has at a time: the engine lines them up
        await self._enter(caller, places)
        try:
            yield
        finally:
            self._leave(places)

    async def _enter(self, caller: str, places: int) -> None:
        ahead = self._ahead()
        if ahead >= self._max_queue:
            raise QueueFull(
                f"{ahead} requests wait for this model already",
                retry_after=self._speed.seconds_for(self._beyond_slots() + self._queue.places),
            )
        if not self._queue and self._taken + places <= self._capacity:
            self._taken += places
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.add(caller, waiter, places)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                if waiter in self._queue:
                    self._queue.remove(caller, waiter)
                self._let_through()
            else:  # it was let through in the very moment in which it left
                self._leave(places)
            raise

    def _leave(self, places: int) -> None:
        self._taken -= places
        if self._taken or self._queue:
            self._speed.note(places)
        else:
            self._speed.forget()
        self._let_through()

    def _ahead(self) -> int:
        """Return how many wait, in the engine's own queue and here."""
        return self._beyond_slots() + len(self._queue)

    def _beyond_slots(self) -> int:
        return max(self._taken - self._slots, 0)

    def _let_through(self) -> None:
        while (places := self._queue.first()) is not None:
            if self._taken + places > self._capacity:
                return
            waiter = self._queue.pop()
            if not waiter.cancelled():  # it left in this very moment, and has not run since
                self._taken += places
                waiter.set_result(None)
