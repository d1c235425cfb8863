"""Share a model's slots among callers, before any of a request's work is done.

The engine serves requests in the order in which it receives them. Requests that have no slot
therefore wait here, one queue per caller, and the queues take turns: a caller that sends a thousand
requests at once delays its own requests and no others.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from pilotlight.errors import QueueFull
from pilotlight.retry_after import UNKNOWN_QUEUE, bounded

AHEAD = 1
"""Requests that the engine gets beyond its slots, so that a slot does not idle until the event loop
learns that it is free."""

_MEASURED = 32
"""Released requests over which the rate is measured."""


class FairQueue:
    """Waiting requests by caller, round-robin. Pure: it neither waits nor wakes."""

    def __init__(self) -> None:
        self._callers: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._slots: dict[asyncio.Future[None], int] = {}

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def slots(self) -> int:
        """The slots that all waiting requests need together."""
        return sum(self._slots.values())

    def __contains__(self, waiter: "asyncio.Future[None]") -> bool:
        return waiter in self._slots

    def add(self, caller: str, waiter: "asyncio.Future[None]", slots: int) -> None:
        """Append *waiter*, which needs *slots*, to the queue of *caller*."""
        self._callers.setdefault(caller, deque()).append(waiter)
        self._slots[waiter] = slots

    def first(self) -> int | None:
        """Return the slots that the next waiter needs; None if the queue is empty."""
        for waiters in self._callers.values():
            return self._slots[waiters[0]]
        return None

    def pop(self) -> "asyncio.Future[None]":
        """Remove and return the next waiter, and move its caller behind all other callers."""
        caller, waiters = self._callers.popitem(last=False)
        waiter = waiters.popleft()
        del self._slots[waiter]
        if waiters:
            self._callers[caller] = waiters
        return waiter

    def remove(self, caller: str, waiter: "asyncio.Future[None]") -> None:
        """Remove a waiter that gave up."""
        waiters = self._callers[caller]
        waiters.remove(waiter)
        del self._slots[waiter]
        if not waiters:
            del self._callers[caller]


class ReleaseRate:
    """Slots released per second, measured over the last requests."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._released: deque[tuple[float, int]] = deque(maxlen=_MEASURED)
        """Times at which slots were released, and how many."""

    def record(self, slots: int = 1) -> None:
        """Record that a request released its *slots*."""
        self._released.append((self._clock(), slots))

    def reset(self) -> None:
        """Discard the measurements: an idle engine says nothing about its speed."""
        self._released.clear()

    def seconds_for(self, slots: int) -> float:
        """Return the seconds in which so many slots are likely to be released, for Retry-After."""
        if len(self._released) < 2:  # noqa: PLR2004 - one moment is no span
            return UNKNOWN_QUEUE
        (began, _), *later = self._released
        return bounded(slots * (self._clock() - began) / sum(released for _, released in later))


class SlotQueue:
    """Requests that hold or wait for slots of one loaded model. Used on one loop."""

    def __init__(self, slots: int, *, max_queue: int, clock: Callable[[], float]) -> None:
        self._slots = slots
        self._capacity = slots + AHEAD
        self._max_queue = max_queue
        self._taken = 0
        self._queue = FairQueue()
        self._rate = ReleaseRate(clock)

    @property
    def waiting(self) -> int:
        """The requests that the engine has not received yet."""
        return len(self._queue)

    @asynccontextmanager
    async def acquire(self, caller: str, slots: int) -> AsyncIterator[None]:
        """Wait until it is *caller*'s turn, and hold *slots* while the context lasts.

        Raises `QueueFull` at once if `max_queue` requests wait. A cancelled request leaves the
        queue at once.
        """
        slots = min(slots, self._capacity)  # the engine queues the rest of a larger request
        await self._acquire(caller, slots)
        try:
            yield
        finally:
            self._release(slots)

    async def _acquire(self, caller: str, slots: int) -> None:
        ahead = self._beyond_slots() + len(self._queue)
        if ahead >= self._max_queue:
            raise QueueFull(
                f"the queue of this model is full; requests waiting: {ahead}",
                retry_after=self._rate.seconds_for(self._beyond_slots() + self._queue.slots),
            )
        if not self._queue and self._taken + slots <= self._capacity:
            self._taken += slots
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.add(caller, waiter, slots)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                if waiter in self._queue:
                    self._queue.remove(caller, waiter)
                self._wake()
            else:  # it got its slots, and was cancelled before it ran again
                self._release(slots)
            raise

    def _release(self, slots: int) -> None:
        self._taken -= slots
        if self._taken or self._queue:
            self._rate.record(slots)
        else:
            self._rate.reset()
        self._wake()

    def _beyond_slots(self) -> int:
        """Return the requests in the engine's own queue."""
        return max(self._taken - self._slots, 0)

    def _wake(self) -> None:
        """Give free slots to the next waiters."""
        while (slots := self._queue.first()) is not None:
            if self._taken + slots > self._capacity:
                return
            waiter = self._queue.pop()
            if not waiter.cancelled():  # its task was cancelled, and has not run since
                self._taken += slots
                waiter.set_result(None)
