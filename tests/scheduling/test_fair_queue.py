"""Which requests get slots, in which order, and what the others are answered."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from pilotlight.errors import QueueFull
from pilotlight.retry_after import LONGEST, SHORTEST, UNKNOWN_QUEUE
from pilotlight.scheduling.fair_queue import (
    AHEAD,
    FairQueue,
    ReleaseRate,
    SlotQueue,
)
from tests.clock import Clock


class Crowd:
    """Requests for slots; *through* are those that got them, in order."""

    def __init__(self, slots: int = 1, max_queue: int = 100) -> None:
        self.clock = Clock()
        self.queue = SlotQueue(slots, max_queue=max_queue, clock=self.clock)
        self.through: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._done: dict[str, asyncio.Event] = {}

    async def come(self, *names: str, slots: int = 1) -> None:
        """Let requests come, one after another; a name's first letter is its caller."""
        for name in names:
            self._done[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._pass(name, slots))
            await settled()

    async def _pass(self, name: str, slots: int) -> None:
        async with self.queue.acquire(name[0], slots):
            self.through.append(name)
            await self._done[name].wait()

    async def end(self, *names: str) -> None:
        """Let requests end that were let through."""
        for name in names:
            self._done[name].set()
            await self.tasks[name]
            await settled()

    async def leave(self, name: str) -> None:
        """Let a client hang up."""
        self.tasks[name].cancel()
        await asyncio.gather(self.tasks[name], return_exceptions=True)
        await settled()


async def settled() -> None:
    """Let every task come as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def crowd():
    crowd = Crowd()
    yield crowd
    for task in crowd.tasks.values():
        task.cancel()
    await asyncio.gather(*crowd.tasks.values(), return_exceptions=True)


# ── the queue ───────────────────────────────────────────────────────────────────────────────────


async def test_callers_take_turns():
    """Each caller's requests keep their order, and callers follow each other."""
    queue, names = FairQueue(), {}
    for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
        waiter = asyncio.get_running_loop().create_future()
        names[waiter] = name
        queue.add(name[0], waiter, 1)

    order = [names[queue.pop()] for _ in range(len(queue))]

    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert queue.first() is None


async def test_a_removed_waiter_is_out_of_the_queue():
    """Wherever it stood, and its caller with its last request."""
    queue = FairQueue()
    first, second, other = (asyncio.get_running_loop().create_future() for _ in range(3))
    queue.add("a", first, 1)
    queue.add("a", second, 2)
    queue.add("b", other, 3)

    queue.remove("a", first)
    assert (len(queue), queue.first()) == (2, 2)
    queue.remove("a", second)
    assert (len(queue), queue.first()) == (1, 3)


# ── the slots ─────────────────────────────────────────────────────────────────────────────────


async def test_the_engine_gets_one_request_beyond_its_slots(crowd):
    """One request beyond the slots is queued in the engine; the next waits here."""
    await crowd.come("a1", "a2", "a3")
    assert crowd.through == ["a1", "a2"][: 1 + AHEAD]
    assert crowd.queue.waiting == 1

    await crowd.end("a1")

    assert crowd.through == ["a1", "a2", "a3"]
    assert crowd.queue.waiting == 0


async def test_one_caller_does_not_starve_another(crowd):
    """Who comes after another's hundred requests is served after the next of them."""
    await crowd.come(*(f"a{number}" for number in range(100)), "b0")

    await crowd.end("a0", "a1")

    assert crowd.through == ["a0", "a1", "a2", "b0"]


async def test_a_request_of_several_answers_waits_for_its_slots():
    """It is not overtaken by smaller ones behind it, and takes all of the engine at the most."""
    crowd = Crowd(slots=2)
    await crowd.come("a1", "a2")
    await crowd.come("b1", slots=50)
    await crowd.come("c1")
    assert crowd.through == ["a1", "a2"]

    await crowd.end("a1")
    assert crowd.through == ["a1", "a2"]
    await crowd.end("a2")
    assert crowd.through == ["a1", "a2", "b1"]
    await crowd.end("b1")
    assert crowd.through == ["a1", "a2", "b1", "c1"]
    await crowd.end("c1")


async def test_a_cancelled_request_frees_its_slot(crowd):
    """In the queue at once, and where it stood before others they move up."""
    await crowd.come("a1", "a2", "b1", "c1")
    await crowd.leave("b1")
    assert crowd.queue.waiting == 1
    await crowd.leave("a1")
    assert crowd.through == ["a1", "a2", "c1"]


async def test_a_request_cancelled_as_it_gets_its_slot_releases_it(crowd):
    """The two may fall into one moment: the slot is not lost."""
    async with crowd.queue.acquire("a", 1):
        await crowd.come("a2", "b1", "c1")
    # Nothing has run since: b1 is let through, and has not heard of it.
    crowd.tasks["b1"].cancel()
    await settled()

    assert crowd.tasks["b1"].cancelled()
    assert crowd.through == ["a2", "c1"]


async def test_requests_cancelled_in_one_moment_take_no_slot(crowd):
    """One that leaves as its turn comes is skipped, and the next one runs."""
    await crowd.come("a1", "a2", "a3", "a4", "a5")
    for name in ("a1", "a2", "a3"):
        crowd.tasks[name].cancel()  # and none of them has run when the first releases its slot
    await settled()
    assert crowd.through == ["a1", "a2", "a4", "a5"]
    await crowd.end("a4", "a5")
    await crowd.come("a6", "a7", "a8")
    assert crowd.through[4:] == ["a6", "a7"]
    assert crowd.queue.waiting == 1


async def test_a_big_request_that_leaves_lets_smaller_ones_pass():
    """What only waited for it waits no longer."""
    crowd = Crowd(slots=1)
    await crowd.come("a1")
    await crowd.come("b1", slots=2)
    await crowd.come("c1")
    assert crowd.through == ["a1"]

    await crowd.leave("b1")

    assert crowd.through == ["a1", "c1"]
    await crowd.end("a1", "c1")


async def test_a_full_queue():
    """With full queues, here and in the engine, the error has the number of waiting requests."""
    crowd = Crowd(slots=1, max_queue=2)
    await crowd.come("a1", "a2", "a3")
    assert crowd.queue.waiting == 1

    with pytest.raises(QueueFull, match="requests waiting: 2") as refused:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(crowd.queue.acquire("b", 1))

    assert refused.value.retry_after == UNKNOWN_QUEUE
    await crowd.end("a1", "a2", "a3")
    async with crowd.queue.acquire("b", 1):
        pass


async def test_the_wait_is_measured():
    """Two requests end each second, and six are ahead: that takes three seconds."""
    crowd = Crowd(slots=1, max_queue=6)
    names = [f"a{number}" for number in range(10)]
    await crowd.come(*names[:7])
    for ended, coming in zip(names[:3], names[7:], strict=True):
        crowd.clock.now += 0.5
        await crowd.end(ended)
        await crowd.come(coming)

    with pytest.raises(QueueFull) as refused:
        async with crowd.queue.acquire("b", 1):
            pass

    assert refused.value.retry_after == 3.0
    await crowd.end(*names[3:])


async def test_the_wait_behind_requests_of_several_answers_is_measured_in_slots():
    """A request of two answers ends every two seconds: a slot a second, and seven are ahead."""
    crowd = Crowd(slots=2, max_queue=4)
    names = [f"a{number}" for number in range(7)]
    await crowd.come(*names[:4], slots=2)
    for ended, coming in zip(names[:3], names[4:], strict=False):
        crowd.clock.now += 2.0
        await crowd.end(ended)
        await crowd.come(coming, slots=2)
    await crowd.come("b0", slots=1)  # it would fit, and waits for its turn
    assert crowd.through == names[:4]

    with pytest.raises(QueueFull, match="requests waiting: 4") as refused:
        async with crowd.queue.acquire("c", 1):
            pass

    assert refused.value.retry_after == 7.0
    await crowd.end(*names[3:7], "b0")


async def test_requests_that_take_the_whole_engine_are_measured():
    """Between two of them nothing is taken for a moment, and that is no idle time."""
    crowd = Crowd(slots=1, max_queue=4)
    await crowd.come("a0", "a1", "a2", "a3", slots=2)
    for name in ("a0", "a1"):
        crowd.clock.now += 3.0
        await crowd.end(name)
    await crowd.come("a4", "a5", slots=2)

    with pytest.raises(QueueFull) as refused:
        async with crowd.queue.acquire("b", 1):
            pass

    assert refused.value.retry_after == (1 + 6) * 3.0 / 2
    await crowd.end("a2", "a3", "a4", "a5")


# ── the rate ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("moments", "slots", "seconds"),
    [
        ([], 4, UNKNOWN_QUEUE),
        ([100.0], 4, UNKNOWN_QUEUE),
        ([98.0, 99.0, 100.0], 4, 4.0),
        ([99.9, 100.0], 1, SHORTEST),
        ([0.0, 100.0], 50, LONGEST),
    ],
)
def test_release_rate(moments, slots, seconds):
    """Slots over time, within what clients obey."""
    clock = Clock()
    rate = ReleaseRate(clock)
    for moment in moments:
        clock.now = moment
        rate.record()
    clock.now = 100.0
    assert rate.seconds_for(slots) == seconds


def test_idle_time_does_not_count():
    """Measurements from before an idle time are discarded."""
    clock = Clock()
    rate = ReleaseRate(clock)
    rate.record()
    rate.record()
    rate.reset()
    assert rate.seconds_for(3) == UNKNOWN_QUEUE
