"""One attempt at a time to make a value, shared by all who ask for it meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

K = TypeVar("K")
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Makes a value for each key, and keeps it for as long as the key lives. Used on one loop.

    A failed attempt is raised to all who waited for it and is not kept: the next caller tries
    again. A caller that is cancelled does not take the value from the others.
    """

    def __init__(self) -> None:
        self._made: WeakKeyDictionary[K, V] = WeakKeyDictionary()
        self._making: dict[K, asyncio.Task[V]] = {}

    def __len__(self) -> int:
        """Return how many values are kept."""
        return len(self._made)

    async def get(self, key: K, make: Callable[[], Awaitable[V]]) -> V:
        """Return the value of *key*; awaits *make* where nobody has made it and nobody does."""
        if key in self._made:
            return self._made[key]
        making = self._making.get(key)
        if making is None:
            # Nothing is awaited between the look and the start, so nobody starts a second one.
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
    """Look at the exception: where every caller has left, nobody else does."""
    if not task.cancelled():
        task.exception()
