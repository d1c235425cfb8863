"""Work in a thread that is given up."""

import asyncio
import threading

import pytest

from pilotlight.models.loading.threads import Abandoned, in_thread, on_own_thread


class Work:
    """Reports once, waits, and reports again unless it is *deaf*."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.reported = threading.Event()
        self.proceed = threading.Event()
        self.deaf = deaf
        self.raised: BaseException | None = None

    def __call__(self, report):
        report(1)
        self.reported.set()
        assert self.proceed.wait(10)
        try:
            if not self.deaf:
                report(2)
        except BaseException as error:
            self.raised = error
            raise
        return "done"


async def given_up(work, undone):
    """Begin *work*, cancel who waits for it, and let it go on."""
    told = []
    waiting = asyncio.create_task(in_thread(work, told.append, undo=undone.append))
    assert await asyncio.to_thread(work.reported.wait, 10)
    waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    work.proceed.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    return told


async def test_it_returns_what_the_work_returns():
    """Every report is passed on, in order."""
    work, told = Work(), []
    work.proceed.set()
    assert await in_thread(work, told.append) == "done"
    assert told == [1, 2]


async def test_work_that_is_given_up_ends_at_its_next_report():
    """The report is dropped, and the cancelled caller returns when the thread has ended."""
    work, undone = Work(), []
    assert await given_up(work, undone) == [1]
    assert isinstance(work.raised, Abandoned)
    assert undone == []


async def test_what_it_made_all_the_same_is_undone():
    """Work that reports no more comes to its end."""
    work, undone = Work(deaf=True), []
    await given_up(work, undone)
    assert undone == ["done"]


async def test_what_it_raises_is_raised():
    """As if it had been called."""

    def work(_report):
        raise KeyError("no such thing")

    with pytest.raises(KeyError):
        await in_thread(work, print)


async def test_work_that_hangs_takes_no_thread_from_others():
    """It runs on a daemon of its own: asyncio's few are there for others, and the process ends."""
    let = threading.Event()
    hanging = [on_own_thread(lambda: let.wait(10), "close m") for _ in range(40)]
    async with asyncio.timeout(5):
        assert await asyncio.to_thread(lambda: 1) == 1
    threads = [one for one in threading.enumerate() if one.name == "close m"]
    assert len(threads) == 40
    assert all(thread.daemon for thread in threads)
    let.set()
    assert await asyncio.gather(*hanging) == [True] * 40
