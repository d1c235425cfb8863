"""The life of adapters over loaded models: loading, waiting, failing, making room, going."""

import asyncio
from pathlib import Path
from threading import Event

import pytest

from pilotlight.errors import InsufficientMemory, ModelLoadFailed, ModelLoading, ShuttingDown
from pilotlight.models.catalog import AdapterOf, ModelEntry, ModelOptions
from pilotlight.models.loaded import Hold
from pilotlight.models.loading.failure import COOL_DOWN
from pilotlight_backend import AdapterFacts, EngineClosed, ModelFileInvalid
from pilotlight_backend.testing.fake import FakeBackend

SIZE = 100
"""Bytes of every adapter, and of the model."""
HELD = Hold(10.0)
WAIT = 10.0


class AdaptingFake(FakeBackend):
    """Has adapters whose files say how their loads end: `broken`, `bug`, or anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.adapters: list[str] = []
        """The ids of those that are loaded."""
        self.may_load, self.is_loading = Event(), Event()
        self.may_load.set()
        self.is_dead = False

    def probe_adapter(self, path: Path, model: object) -> AdapterFacts:  # noqa: ARG002
        if path.read_text() == "broken":
            raise ModelFileInvalid(path, "it is broken")
        return AdapterFacts(path=path, rank=4, size_bytes=SIZE)

    def _open(self, *arguments):
        engine = super()._open(*arguments)
        engine.load_adapter, engine.unload_adapter = self._load_adapter, self._unload_adapter
        return engine

    def _load_adapter(self, path: Path) -> str:
        self.is_loading.set()
        assert self.may_load.wait(WAIT)
        if path.read_text() == "bug":
            raise RuntimeError("a secret of the backend")
        self.adapters.append(path.stem)
        return path.stem

    def _unload_adapter(self, adapter: str) -> None:
        if self.is_dead:
            raise EngineClosed
        self.adapters.remove(adapter)


@pytest.fixture
def backend():
    backend = AdaptingFake()
    yield backend
    backend.may_load.set()
    for engine in list(backend.engines):
        engine.close()


@pytest.fixture
def base(write) -> ModelEntry:
    return write("base", size_bytes=SIZE)


@pytest.fixture
def adapter(base, tmp_path):
    """Return a function that writes an adapter of the base and returns its entry."""

    def adapter(name: str, text: str = "", *, file: str = "") -> ModelEntry:
        path = tmp_path / f"{file or name}.lora"
        path.write_text(text)
        return ModelEntry(
            name, path, "configured", ModelOptions(path=str(path)), adapter=AdapterOf(base)
        )

    return adapter


async def begun(pool, backend, entry):
    """Begin to load *entry* for a request, up to where the engine's call stands still."""
    backend.may_load.clear()
    task = asyncio.create_task(pool.load_adapter(entry, HELD))
    assert await asyncio.to_thread(backend.is_loading.wait, WAIT)
    return task


async def settled(pool):
    """Wait until nothing loads or unloads."""
    while tasks := list(pool._adapters._tasks):
        await asyncio.wait(tasks)


def reserved(pool, base) -> int:
    """Return the bytes that the base and its adapters have reserved."""
    return pool._models[base].need


async def test_it_loads_at_its_first_request_and_once_for_all(make_pool, backend, base, adapter):
    pool, one = make_pool(), adapter("one")
    assert pool.status(one).state == "absent"
    loads = [await begun(pool, backend, one)]
    loads += [asyncio.create_task(pool.load_adapter(one, HELD)) for _ in range(3)]
    assert pool.status(one).state == "loading"
    before = reserved(pool, base)
    backend.may_load.set()
    await asyncio.gather(*loads)
    assert (pool.status(one).state, backend.adapters) == ("ready", ["one"])
    assert reserved(pool, base) == before >= 2 * SIZE


async def test_request_that_does_not_wait_so_long_is_told_and_the_load_goes_on(
    make_pool, backend, adapter
):
    pool, one = make_pool(), adapter("one")
    first = await begun(pool, backend, one)
    with pytest.raises(ModelLoading, match="the adapter 'one' is loading") as refused:
        await pool.load_adapter(one, Hold(0.0))
    assert refused.value.retry_after >= 1
    first.cancel()
    backend.may_load.set()
    await settled(pool)
    assert (pool.status(one).state, backend.adapters) == ("ready", ["one"])


async def test_broken_one_is_not_tried_again_for_a_while(make_pool, clock, base, adapter):
    pool, one = make_pool(), adapter("one", "broken")
    before = None
    for left in (COOL_DOWN, COOL_DOWN - 4):
        with pytest.raises(ModelLoadFailed, match="it is broken") as refused:
            await pool.load_adapter(one, HELD)
        assert refused.value.retry_after is None  # the file will not mend itself
        before = before or reserved(pool, base)
        one.path.write_text("")
        clock.advance(COOL_DOWN - left)
    clock.advance(4)
    assert (pool.status(one).state, reserved(pool, base)) == ("failed", before)
    clock.advance(COOL_DOWN)
    await pool.load_adapter(one, HELD)
    assert pool.status(one).state == "ready"


async def test_fault_of_a_backend_is_told_without_its_words(make_pool, clock, base, adapter):
    pool, one = make_pool(), adapter("one", "bug")
    with pytest.raises(ModelLoadFailed) as refused:
        await pool.load_adapter(one, HELD)
    assert "secret" not in refused.value.message
    assert refused.value.retry_after == COOL_DOWN
    assert reserved(pool, base) < 2 * SIZE
    clock.advance(COOL_DOWN - 3)
    with pytest.raises(ModelLoadFailed) as again:
        await pool.load_adapter(one, HELD)
    assert again.value.retry_after == 3
    assert again.value is not refused.value  # each would keep the traceback of the other


async def test_one_that_is_removed_while_it_loads_does_not_stay(make_pool, backend, base, adapter):
    pool, one = make_pool(), adapter("one")
    first = await begun(pool, backend, one)
    pool.remove_adapter(one)
    backend.may_load.set()
    await first
    await settled(pool)
    assert backend.adapters == []
    assert pool.status(one).state == "absent"
    assert reserved(pool, base) < 2 * SIZE


async def test_one_that_is_removed_in_use_stays_for_its_requests(make_pool, backend, base, adapter):
    pool, one = make_pool(), adapter("one")
    async with pool.lease(base, HELD) as model, pool.lease_adapter(model, one, HELD) as used:
        pool.remove_adapter(one)
        await settled(pool)
        assert (used, backend.adapters) == ("one", ["one"])
    await settled(pool)
    assert backend.adapters == []


async def test_another_file_of_the_same_name_takes_its_place(make_pool, backend, base, adapter):
    pool, old, new = make_pool(), adapter("one"), adapter("one", file="other")
    await pool.load_adapter(old, HELD)
    taken = reserved(pool, base)
    await pool.load_adapter(new, HELD)
    await settled(pool)
    assert backend.adapters == ["other"]
    assert [pool.status(entry).state for entry in (old, new)] == ["absent", "ready"]
    assert reserved(pool, base) == taken


async def test_no_memory_and_none_that_is_idle(make_pool, backend, base, adapter):
    """The adapter that is in use stays, and the next one is refused alone."""
    pool = make_pool(memory_budget=10_000)
    await pool.load_adapter(adapter("first"), HELD)
    pool._memory._budget = reserved(pool, base)
    one, two = adapter("first"), adapter("two")
    async with pool.lease(base, HELD) as model, pool.lease_adapter(model, one, HELD):
        with pytest.raises(InsufficientMemory, match="'two' needs 100 bytes of memory") as refused:
            async with pool.lease_adapter(model, two, HELD):
                pass
        assert refused.value.retry_after == COOL_DOWN
        assert backend.adapters == ["first"]
    assert [pool.status(entry).state for entry in (one, two)] == ["ready", "failed"]


async def test_close_cancels_loads(make_pool, backend, adapter):
    pool, one = make_pool(), adapter("one")
    first = await begun(pool, backend, one)
    closing = asyncio.create_task(pool._adapters.close())
    with pytest.raises(ShuttingDown):
        await first
    backend.may_load.set()
    await closing


async def test_engine_that_died_keeps_no_memory_reserved(make_pool, backend, base, adapter):
    pool, one = make_pool(), adapter("one")
    await pool.load_adapter(one, HELD)
    taken = reserved(pool, base)
    backend.is_dead = True
    pool.remove_adapter(one)
    await settled(pool)
    assert reserved(pool, base) == taken - SIZE
