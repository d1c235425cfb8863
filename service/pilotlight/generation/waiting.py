"""Requests that wait for a slot, and how those that stream learn that they may begin."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from pilotlight.generation.events import Events

ANNOUNCE_AFTER = 1.5
"""Seconds. A client has the headers of its stream within 2 s of waiting, the check included."""


async def announced(
    answer: AsyncGenerator[Events], after: float, check: Callable[[], Awaitable[None]]
) -> AsyncGenerator[Events]:
    """Yield the events of *answer*, and empty ones before them if they take longer than *after*.

    Those come when *check* has found nothing wrong, so that what it raises can still be a status.
    """
    first = asyncio.ensure_future(anext(answer))
    try:
        await asyncio.wait((first,), timeout=after)
        if not first.done():
            await _unless_done(first, check())
            if not first.done():
                yield ()
        yield await first
        async for events in answer:
            yield events
    finally:
        first.cancel()  # a generator cannot be closed while its next event is awaited
        await asyncio.gather(first, return_exceptions=True)
        await answer.aclose()


async def _unless_done(first: asyncio.Future[Events], check: Awaitable[None]) -> None:
    """Await *check*, or *first*, which makes it needless."""
    checking = asyncio.ensure_future(check)
    try:
        await asyncio.wait((first, checking), return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            await checking
    finally:
        checking.cancel()
        await asyncio.gather(checking, return_exceptions=True)
