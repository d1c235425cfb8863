"""Admit requests until the shutdown, and count those in flight, which the shutdown waits for."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pilotlight.errors import shutting_down


class Admission:
    """Counts the requests in flight, and admits no more once closed. Used on one loop."""

    def __init__(self) -> None:
        self.closed = False
        self._in_flight = 0
        self._left = asyncio.Event()
        self._on_close: list[Callable[[], None]] = []

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count one request while the context lasts; raises `ShuttingDown` once closed."""
        if self.closed:
            raise shutting_down()
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            self._left.set()

    def close(self) -> None:
        """Admit no more requests; those in flight continue."""
        self.closed = True
        for call in self._on_close:
            call()

    def on_close(self, call: Callable[[], None]) -> None:
        """Have `close` make *call*: it ends what needs no grace period."""
        self._on_close.append(call)

    async def served(self) -> None:
        """Return when a request has ended and none is in flight."""
        await self._left.wait()
        await self._idle()

    async def drained(self, seconds: float) -> bool:
        """Wait up to *seconds* until no request is in flight; return whether that is so."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle()
        except TimeoutError:
            return False
        return True

    async def _idle(self) -> None:
        while self._in_flight:
            self._left.clear()
            await self._left.wait()
