"""Work in a thread that ends at its next report when nobody wants it any more."""

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

P = TypeVar("P")
T = TypeVar("T")


class Abandoned(Exception):
    """Raised into work that nobody wants any more."""


class Stalled(Exception):
    """Work that stalls was given up; *ended* is done once its thread has ended after all."""

    def __init__(self, ended: asyncio.Task[None]) -> None:
        super().__init__("the work stalls")
        self.ended = ended


async def in_thread(
    work: Callable[[Callable[[P], None]], T],
    note: Callable[[P], None],
    *,
    undo: Callable[[T], None] = lambda _: None,
    stalls: Callable[[], Awaitable[None]] | None = None,
) -> T:
    """Return what *work* returns, which runs in a thread and reports to *note*, on that thread.

    A thread cannot be cancelled: what is raised from its next report ends the work, and what it has
    made by then is given to *undo*. The caller is cancelled when the thread has ended. *stalls*
    returns when the work is to be given up: then `Stalled` is raised, and nobody waits.
    """
    abandoned = False

    def report(progress: P) -> None:
        if abandoned:
            raise Abandoned
        note(progress)

    thread = on_own_thread(partial(work, report), "load")
    stall = None if stalls is None else asyncio.ensure_future(stalls())
    try:
        await asyncio.wait(
            (thread,) if stall is None else (thread, stall), return_when=asyncio.FIRST_COMPLETED
        )
        if thread.done():
            return thread.result()
        abandoned = True
        raise Stalled(asyncio.create_task(_end(thread, undo)))
    except asyncio.CancelledError:
        abandoned = True
        await _end(thread, undo)
        raise
    finally:
        if stall is not None:
            stall.cancel()


def on_own_thread(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Run *work* on a thread called *name*, which may hang: no end of the process waits for it.

    Those of asyncio's executor are joined there (concurrent.futures.thread, _python_exit), and are
    too few to lose one.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    done.add_done_callback(lambda it: it.cancelled() or it.exception())  # also where nobody asks
    context = contextvars.copy_context()

    def run() -> None:
        try:
            result = context.run(work)
        except BaseException as error:  # noqa: BLE001 - it is raised where the work is awaited
            settle = partial(done.set_exception, error)
        else:
            settle = partial(done.set_result, result)
        with suppress(RuntimeError):  # the loop is closed, and with it everyone who waited
            loop.call_soon_threadsafe(settle)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done


async def _end(thread: asyncio.Future[T], undo: Callable[[T], None]) -> None:
    """Wait for the end of a *thread* that is given up, and undo what it made all the same."""
    await asyncio.wait((thread,))
    if thread.exception() is None:
        await on_own_thread(partial(undo, thread.result()), "close")
