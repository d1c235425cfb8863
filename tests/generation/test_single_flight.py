"""What many ask for at once is made once."""

import asyncio
import gc

import pytest

from pilotlight.generation.single_flight import SingleFlight


class Key:
    """Something that can be referred to weakly."""


class Maker:
    """Makes values when it is let; counts the attempts."""

    def __init__(self) -> None:
        self.attempts = 0
        self.let = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.attempts += 1
        await self.let.wait()
        if self.error:
            raise self.error
        return self.attempts


async def asked(flight, key, make, count):
    """Return tasks that have begun to ask."""
    tasks = [asyncio.create_task(flight.get(key, make)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_first_callers_share_one_attempt():
    flight, key, make = SingleFlight(), Key(), Maker()
    tasks = await asked(flight, key, make, 8)
    make.let.set()
    assert await asyncio.gather(*tasks) == [1] * 8
    assert await flight.get(key, make) == 1


async def test_keys_have_values_of_their_own():
    flight, make = SingleFlight(), Maker()
    make.let.set()
    one, other = Key(), Key()
    assert [await flight.get(key, make) for key in (one, other, one)] == [1, 2, 1]


async def test_a_failed_attempt_is_raised_to_all_and_not_kept():
    flight, key, make = SingleFlight(), Key(), Maker()
    make.error = ValueError("once")
    tasks = await asked(flight, key, make, 3)
    make.let.set()
    assert [str(one) for one in await asyncio.gather(*tasks, return_exceptions=True)] == [
        "once"
    ] * 3
    make.error = None
    assert await flight.get(key, make) == 2


async def test_a_caller_that_leaves_takes_nothing_from_the_others():
    flight, key, make = SingleFlight(), Key(), Maker()
    first, second = await asked(flight, key, make, 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    make.let.set()
    assert await second == 1


async def test_where_all_have_left_the_attempt_still_counts(recwarn, caplog):
    """Its value is there for the next one, and a failure without a caller is not reported."""
    flight, key, make = SingleFlight(), Key(), Maker()
    make.error = ValueError("unseen")
    (only,) = await asked(flight, key, make, 1)
    only.cancel()
    make.let.set()
    await asyncio.gather(only, return_exceptions=True)
    await asyncio.sleep(0)
    make.error = None
    assert await flight.get(key, make) == 2
    gc.collect()
    assert not caplog.records
    assert not recwarn


async def test_a_value_goes_with_its_key():
    flight, make = SingleFlight(), Maker()
    make.let.set()
    key = Key()
    assert await flight.get(key, make) == 1
    del key
    gc.collect()
    assert not flight._made
    assert not flight._making
