"""Makes a value once for all callers that ask at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

K = TypeVar("K")
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Makes a value for each key and keeps it while the key lives. Used on one event loop.

    A failed attempt raises for all callers that waited and is not kept: the next caller tries
    again. Cancelling one caller does not cancel the attempt.
    """

    def __init__(self) -> None:
        self._made: WeakKeyDictionary[K, V] = WeakKeyDictionary()
        self._making: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        """Return how many values are kept."""
        return len(self._made)

    async def get(self, key: K, make: Callable[[], Awaitable[V]]) -> V:
        """Return the value of *key*; awaits *make* if there is none and no attempt is under way."""
        if key in self._made:
            return self._made[key]
        making = self._making.get(key)
        if making is None:
            # Nothing is awaited between the lookup and the start, so there is no second attempt.
            making = self._making[key] = asyncio.create_task(self._make(key, make))
            making.add_done_callback(_retrieved)
        return await asyncio.shield(making)

    async def _make(self, key: K, make: Callable[[], Awaitable[V]]) -> V:
        try:
            value = self._made[key] = await make()
        finally:
            del self._making[key]
        return value


def _retrieved(task: asyncio.Task[V]) -> None:
    """Retrieve the exception; asyncio logs it otherwise if every caller was cancelled."""
    if not task.cancelled():
        task.exception()
