"""What is imported and made when it is first needed."""

import asyncio
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """The outcome of *make*, which is called once, on any thread; again if it raises."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: tuple[T] | None = None
        self._making = Lock()

    def get(self) -> T:
        """Return it; the first call imports modules."""
        if self._made is None:
            with self._making:
                if self._made is None:
                    self._made = (self._make(),)
        return self._made[0]

    async def wait(self) -> T:
        """Return it; the first call is made on a thread, so that streams continue meanwhile."""
        return self._made[0] if self._made else await asyncio.to_thread(self.get)
