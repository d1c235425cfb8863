"""Lets streams that wait long for a slot send their headers early.

Proxies cut connections that are silent, and clients need an error's status: so the request is
checked while it waits, and then its stream may begin with 200.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from pilotlight.generation.events import Events

ANNOUNCE_AFTER = 1.5
"""Seconds until a waiting request is checked; a client has its headers within 2 s."""


async def announced(
    stream: AsyncGenerator[Events], after: float, check: Callable[[], Awaitable[None]]
) -> AsyncGenerator[Events]:
    """Yield the events of *stream*, and first an empty sequence if it waits *after* seconds.

    The empty sequence comes after *check*, so that an error of the check still has its own status.
    """
    first = asyncio.ensure_future(anext(stream))
    try:
        await asyncio.wait((first,), timeout=after)
        if not first.done():
            await _unless_done(first, check())
            if not first.done():
                yield ()
        yield await first
        async for events in stream:
            yield events
    finally:
        first.cancel()  # a generator cannot be closed while its next event is awaited
        await asyncio.gather(first, return_exceptions=True)
        await stream.aclose()


async def _unless_done(first: asyncio.Future[Events], check: Awaitable[None]) -> None:
    """Await *check*, unless *first* is done before."""
    checking = asyncio.ensure_future(check)
    try:
        await asyncio.wait((first, checking), return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            await checking
    finally:
        checking.cancel()
        await asyncio.gather(checking, return_exceptions=True)
