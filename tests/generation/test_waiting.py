"""A generation that is announced: when it yields nothing at first, and what ends it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from pilotlight.errors import InvalidRequest, ServiceError
from pilotlight.generation.waiting import announced

EVENTS = [(0, "begun")]
LATER = [(0, "ended")]


class Generation:
    """Yields two lists of events, the first when it is let."""

    def __init__(self, *, refuses: ServiceError | None = None) -> None:
        self.turn = asyncio.Event()
        self.closed = False
        self._refuses = refuses

    async def events(self) -> AsyncGenerator[Any]:
        try:
            await self.turn.wait()
            if self._refuses:
                raise self._refuses
            yield EVENTS
            yield LATER
        finally:
            self.closed = True


class Check:
    """Looks at the request, and ends when it is let."""

    def __init__(self, *, refuses: ServiceError | None = None, ends: bool = True) -> None:
        self.began, self.may_end, self.cancelled = asyncio.Event(), asyncio.Event(), False
        self._refuses = refuses
        if ends:
            self.may_end.set()

    async def __call__(self) -> None:
        self.began.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self._refuses:
            raise self._refuses


async def all_of(events: AsyncGenerator[Any]) -> list[Any]:
    async with asyncio.timeout(10):
        return [one async for one in events]


async def test_what_begins_at_once_is_not_announced():
    generation, check = Generation(), Check()
    generation.turn.set()
    assert await all_of(announced(generation.events(), 10.0, check)) == [EVENTS, LATER]
    assert not check.began.is_set()
    assert generation.closed


async def test_what_waits_is_announced_once():
    generation = Generation()
    events = announced(generation.events(), 0.0, Check())
    assert await anext(events) == ()
    generation.turn.set()
    assert await all_of(events) == [EVENTS, LATER]


async def test_what_the_check_refuses_is_never_announced():
    """The generation is closed by then, so that it leaves its queue."""
    generation = Generation()
    events = announced(generation.events(), 0.0, Check(refuses=InvalidRequest("no")))
    with pytest.raises(InvalidRequest):
        await anext(events)
    assert generation.closed


async def test_a_turn_that_comes_first_makes_the_check_needless():
    generation, check = Generation(), Check(ends=False)
    events = asyncio.create_task(all_of(announced(generation.events(), 0.0, check)))
    await check.began.wait()
    generation.turn.set()
    assert await events == [EVENTS, LATER]
    assert check.cancelled


@pytest.mark.parametrize("after", [0.0, 10.0])
async def test_what_the_generation_raises_is_raised(after: float):
    """Before it is announced as well as after."""
    generation = Generation(refuses=InvalidRequest("no"))
    events = announced(generation.events(), after, Check())
    if not after:
        assert await anext(events) == ()
    generation.turn.set()
    with pytest.raises(InvalidRequest):
        await all_of(events)


@pytest.mark.parametrize("ends", [True, False])
async def test_closing_leaves_nothing(ends: bool):  # noqa: FBT001 - a case
    """Neither while it waits nor while it is checked."""
    before = asyncio.all_tasks()
    generation, check = Generation(), Check(ends=ends)
    events = announced(generation.events(), 0.0, check)
    first = asyncio.create_task(anext(events))
    await check.began.wait()
    if ends:
        assert await first == ()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await events.aclose()
    assert generation.closed
    assert check.cancelled is not ends
    assert asyncio.all_tasks() == before
