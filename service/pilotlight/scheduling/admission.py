"""Whether requests are taken, and how many are under way: what a shutdown waits for."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from pilotlight.errors import ShuttingDown

RETRY_AFTER = 2.0
"""Seconds in which a platform has another instance up, or sends the request to one that is."""


def shutting_down() -> ShuttingDown:
    """Return what a request is told that comes too late."""
    return ShuttingDown("the server is shutting down", retry_after=RETRY_AFTER)


class Admission:
    """The door of the service. Made and used on one loop."""

    def __init__(self) -> None:
        self.closed = False
        self._under_way = 0
        self._left = asyncio.Event()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count one request for as long as the block runs; raises `ShuttingDown` once closed."""
        if self.closed:
            raise shutting_down()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._left.set()

    def close(self) -> None:
        """Take no more requests; those under way go on."""
        self.closed = True

    async def emptied(self, seconds: float) -> bool:
        """Wait up to *seconds* until no request is under way; tell whether that came."""
        try:
            async with asyncio.timeout(seconds):
                while self._under_way:
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            return False
        return True
