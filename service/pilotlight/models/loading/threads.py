"""Run blocking work on threads of its own, and abandon it when its caller is cancelled."""

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
    """Raised from a progress report into work that was given up."""


class Stalled(Exception):
    """Work that stalls was given up; the task *ended* is done once its thread has ended."""

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
    """Run *work* on a thread, where it reports its progress to *note*, and return its result.

    A thread cannot be cancelled. Work that is given up ends with `Abandoned` from its next report;
    a result that it returns nevertheless goes to *undo*. A cancelled caller waits for the thread.
    When *stalls* returns, the work is given up, and `Stalled` is raised without waiting.
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
    """Run *work* on a daemon thread called *name*, so that a hang does not keep the process alive.

    The threads of asyncio's executor are joined at exit (concurrent.futures.thread, _python_exit),
    and are too few to lose one.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    # Marks the exception as retrieved: not every caller awaits the future.
    done.add_done_callback(lambda it: it.cancelled() or it.exception())
    context = contextvars.copy_context()

    def run() -> None:
        try:
            result = context.run(work)
        except BaseException as error:  # noqa: BLE001 - raised where the future is awaited
            settle = partial(done.set_exception, error)
        else:
            settle = partial(done.set_result, result)
        with suppress(RuntimeError):  # the loop is closed, and nothing awaits the future
            loop.call_soon_threadsafe(settle)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done


async def _end(thread: asyncio.Future[T], undo: Callable[[T], None]) -> None:
    """Wait until a *thread* that was given up ends, and undo its result if it has one."""
    await asyncio.wait((thread,))
    if thread.exception() is None:
        await on_own_thread(partial(undo, thread.result()), "close")
