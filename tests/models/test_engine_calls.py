"""An engine's calls have threads of their own: a few, and none when nothing is called."""

import asyncio
import threading
import time

import pytest

from pilotlight.models.engine_calls import EngineCalls
from pilotlight_backend import InferenceFailed


class Gate:
    """A call that blocks until it is let."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.let = threading.Event()

    def __call__(self) -> str:
        self.entered.release()
        self.let.wait(10)
        return "done"


@pytest.fixture
def calls():
    return EngineCalls("m")


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.let.set()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "m calls"]


async def entered(gate: Gate, count: int) -> None:
    for _ in range(count):
        assert await asyncio.to_thread(gate.entered.acquire, timeout=10)


async def test_a_call_returns_or_raises(calls):
    assert await calls.run(lambda: 7) == 7

    def fail() -> None:
        raise LookupError("no such")

    with pytest.raises(LookupError, match="no such"):
        await calls.run(fail)


async def test_a_few_threads_serve_many_calls_and_then_end(calls, gate):
    """Calls beyond the threads wait, in their order, and no thread stays."""
    tasks = [asyncio.create_task(calls.run(gate)) for _ in range(9)]
    await entered(gate, 4)
    assert len(threads()) == 4
    assert not gate.entered.acquire(blocking=False)
    gate.let.set()
    assert await asyncio.gather(*tasks) == ["done"] * 9
    for thread in threads():
        thread.join(10)
    assert threads() == []
    assert calls.under_way == ()
    assert await calls.run(lambda: "again") == "again"


async def test_calls_that_hang_keep_nobody_else_waiting(calls, gate):
    """The default executor, and another engine's calls, have all of their threads."""
    hanging = [asyncio.create_task(calls.run(gate)) for _ in range(40)]
    await entered(gate, 4)
    async with asyncio.timeout(5):
        await asyncio.to_thread(time.monotonic)
        assert await EngineCalls("other").run(lambda: 1) == 1
    gate.let.set()
    await asyncio.gather(*hanging)


async def test_calls_under_way_are_steps(calls, gate):
    """With the tokens that they have to do with; one that waits for a thread has not begun."""
    tasks = [asyncio.create_task(calls.run(gate, tokens=number)) for number in range(6)]
    await entered(gate, 4)
    assert [step.tokens for step in calls.under_way] == [0, 1, 2, 3]
    numbers = [step.number for step in calls.under_way]
    assert len(set(numbers)) == 4
    assert max(numbers) < 0
    gate.let.set()
    await asyncio.gather(*tasks)


async def test_a_call_that_is_cancelled_before_it_begins_never_does(calls, gate):
    tasks = [asyncio.create_task(calls.run(gate)) for _ in range(4)]
    await entered(gate, 4)
    ran = []
    waiting = asyncio.create_task(calls.run(lambda: ran.append(1)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    gate.let.set()
    await asyncio.gather(*tasks)
    assert ran == []


async def test_an_engine_that_has_failed_ends_every_wait(calls, gate):
    """Calls that run or wait fail, and so do later ones."""
    tasks = [asyncio.create_task(calls.run(gate)) for _ in range(6)]
    await entered(gate, 4)
    calls.fail(InferenceFailed("it hangs"))
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [(type(one), str(one)) for one in ended] == [(InferenceFailed, "it hangs")] * 6
    with pytest.raises(InferenceFailed, match="it hangs"):
        await calls.run(gate)
    gate.let.set()
    for thread in threads():
        thread.join(10)
    assert threads() == []
