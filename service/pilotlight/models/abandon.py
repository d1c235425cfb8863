"""Work in a thread that ends at its next report when nobody wants it any more."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

P = TypeVar("P")
T = TypeVar("T")


class Abandoned(Exception):
    """Raised into work that nobody wants any more."""


async def in_thread(
    work: Callable[[Callable[[P], None]], T],
    note: Callable[[P], None],
    *,
    undo: Callable[[T], None] = lambda _: None,
) -> T:
    """Return what *work* returns, which runs in a thread and reports to *note*, on that thread.

    A thread cannot be cancelled: what is raised from its next report ends the work, and what it has
    made by then is given to *undo*. The caller is cancelled when the thread has ended.
    """
    abandoned = False

    def report(progress: P) -> None:
        if abandoned:
            raise Abandoned
        note(progress)

    thread = asyncio.create_task(asyncio.to_thread(work, report))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        abandoned = True
        await asyncio.wait((thread,))
        if not thread.cancelled() and thread.exception() is None:
            await asyncio.to_thread(undo, thread.result())
        raise
