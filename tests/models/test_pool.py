"""The life of models: loading, sharing, failing, idling, making room, closing."""

import asyncio
import logging
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from pilotlight.errors import (
    InsufficientMemory,
    InvalidRequest,
    ModelLoadFailed,
    ModelLoading,
    ShuttingDown,
)
from pilotlight.models.catalog import ModelEntry, ModelOptions
from pilotlight.models.loaded import Hold, LoadedModel
from pilotlight.models.loading.history import LoadHistory, model_key
from pilotlight.models.loading.progress import LoadTimes
from pilotlight.models.pool import Pool
from pilotlight.models.registry import Registry
from pilotlight_backend import Failed, GenerateRequest, LoadOptions
from pilotlight_backend import InsufficientMemory as TooLittleMemory
from pilotlight_backend.cgroup import memory_size
from pilotlight_backend.testing.conformance.listener import submit
from pilotlight_backend.testing.fake import FakeBackend


async def use(
    pool: Pool, entry: ModelEntry, hold: float = 10.0, *, may_give_up: bool = False
) -> LoadedModel:
    """Lease a model as a request does, and give it back."""
    async with pool.lease(entry, Hold(hold, may_give_up=may_give_up)) as model:
        return model


async def reached(backend: FakeBackend) -> None:
    """Wait until a load stands before the held gate."""
    assert await asyncio.to_thread(backend.load_gate.wait_reached)


async def unloaded(pool: Pool, entry: ModelEntry) -> None:
    """Wait until a draining model is absent."""
    closing = pool._models[entry].closing
    if closing:
        await closing
    assert pool.status(entry).state == "absent"


async def start(coroutine) -> asyncio.Task:
    """Start a task and let it come to its first wait."""
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    return task


# Loading


async def test_first_request_loads(pool, backend, write):
    """A model is loaded when it is first asked for, and then answers at once."""
    entry = write("a")
    first = await use(pool, entry)
    assert (await use(pool, entry, hold=0)) is first
    assert (first.entry, first.backend, first.engine) == (entry, "fake", backend.engines[0])
    assert len(backend.loads) == 1


async def test_waiters_share_one_load(pool, backend, write):
    """However many wait, there is one load, and all get its model."""
    entry = write("a")
    backend.load_gate.hold()
    waiters = [asyncio.create_task(use(pool, entry)) for _ in range(20)]
    await reached(backend)
    backend.load_gate.release()
    models = await asyncio.gather(*waiters)
    assert len({id(model) for model in models}) == 1
    assert len(backend.loads) == 1


async def test_load_goes_on_when_waiters_leave(pool, backend, write):
    """A waiter that gives up or is cancelled does not end the load for others."""
    entry = write("a")
    backend.load_gate.hold()
    with pytest.raises(ModelLoading):
        await use(pool, entry, hold=0)
    leaving = await start(use(pool, entry))
    staying = await start(use(pool, entry))
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    backend.load_gate.release()
    assert (await staying).entry == entry
    assert len(backend.loads) == 1
    assert pool._models[entry].users == 0


async def test_hold_ends_with_model_loading(pool, backend, write):
    """After the hold a request gets `ModelLoading` with a Retry-After."""
    backend.load_gate.hold()
    with pytest.raises(ModelLoading, match="'a' is loading") as caught:
        await use(pool, write("a"), hold=0.001)
    assert (caught.value.retry_after, caught.value.should_retry) == (10.0, True)


@pytest.mark.parametrize(
    ("waited", "jitter", "retry_after"),
    [(5.0, 0.0, 15.5), (5.0, 1.0, 17.05), (0.1, 0.0, 1.0), (1000.0, 0.0, 60.0)],
)
async def test_retry_after_comes_from_the_bytes_read(  # noqa: PLR0917 - a row of a table
    make_pool, backend, clock, write, waited, jitter, retry_after
):
    """A quarter read in 5 s leaves 15 s and what follows; it is jittered, and from 1 to 60."""
    pool = make_pool(jitter=lambda: jitter)
    entry = write("a", size_bytes=400, load_steps=4)
    backend.load_gate.hold()
    with pytest.raises(ModelLoading):
        await use(pool, entry, hold=0)
    await reached(backend)
    clock.advance(waited)
    backend.load_gate.release(1)
    await reached(backend)
    with pytest.raises(ModelLoading) as caught:
        await use(pool, entry, hold=0)
    assert caught.value.retry_after == pytest.approx(retry_after)
    status = pool.status(entry)
    assert status.state == "loading"
    assert status.progress == pytest.approx(waited / (4 * waited + 0.5))
    assert status.retry_after == pytest.approx(3 * waited + 0.5)


async def test_retry_after_comes_from_earlier_loads(make_pool, backend, clock, write):
    """Before anything is read, what earlier loads took is the estimate."""
    pool = make_pool(idle_ttl=1.0)
    entry = write("a")
    backend.load_gate.hold()
    loading = await start(use(pool, entry))
    await reached(backend)
    clock.advance(30)
    backend.load_gate.release()
    await loading
    clock.advance(1)
    pool.sweep()
    await unloaded(pool, entry)
    backend.load_gate.hold()
    with pytest.raises(ModelLoading) as caught:
        await use(pool, entry, hold=0)
    assert caught.value.retry_after == 30.0


async def test_wait_in_vain_is_not_begun(make_pool, backend, clock, write, tmp_path):
    """A request that may give up gets it at once if the estimate exceeds its hold."""
    history = LoadHistory(tmp_path / "cache")
    entry = write("a", size_bytes=400)
    history.add(model_key("fake", backend.probe(entry.path)), LoadTimes(30.0, 10.0))
    pool = make_pool(history=LoadHistory(tmp_path / "cache"))
    backend.load_gate.hold()
    waiting = await start(use(pool, entry, hold=10))
    await reached(backend)
    with pytest.raises(ModelLoading) as caught:
        await use(pool, entry, hold=39, may_give_up=True)
    assert caught.value.retry_after == 40.0
    clock.advance(5)
    staying = await start(use(pool, entry, hold=36, may_give_up=True))
    backend.load_gate.release()
    assert (await staying) is (await waiting)


async def test_held_requests_are_counted(make_pool, backend, write):
    """One request more than may be held gets it at once, until one of the held ones leaves."""
    pool = make_pool(max_held=2)
    entry = write("a")
    backend.load_gate.hold()
    held = [await start(use(pool, entry, hold=1000)) for _ in range(2)]
    await reached(backend)
    with pytest.raises(ModelLoading):
        await use(pool, entry, hold=1000)
    held.pop().cancel()
    await asyncio.sleep(0)
    held.append(await start(use(pool, entry, hold=1000)))
    backend.load_gate.release()
    assert len({id(model) for model in await asyncio.gather(*held)}) == 1
    assert pool._held == 0


async def test_status_follows_the_life(pool, backend, write):
    """Those who look see every state, and asking for it changes none."""
    entry = write("a")
    assert pool.status(entry).state == "absent"
    assert pool.loaded == []
    backend.load_gate.hold()
    loading = await start(use(pool, entry))
    assert pool.status(entry).state == "loading"
    assert pool.loaded == [entry]
    backend.load_gate.release()
    await loading
    status = pool.status(entry)
    assert (status.state, status.progress, pool.loaded) == ("ready", 1.0, [entry])
    assert pool.status(write("b")).state == "absent"


async def test_entries_of_one_name_are_different_models(pool, write, tmp_path):
    """A name that stands for another file meanwhile is never answered by the old one."""
    old = write("a")
    path = write("other").path
    new = ModelEntry("a", path, "discovered", ModelOptions(path=str(path)))
    assert (await use(pool, old)).facts.path == tmp_path / "a.fake"
    assert (await use(pool, new)).facts.path == path


async def test_request_for_a_draining_model_waits_and_loads_it_again(
    make_pool, backend, clock, write
):
    """While a model is unloaded it cannot be used; afterwards it is loaded anew."""
    pool = make_pool(idle_ttl=1.0)
    entry = write("a")
    engine = (await use(pool, entry)).engine
    may_close = threading.Event()
    close = engine.close
    engine.close = lambda: may_close.wait(10) and close()
    clock.advance(1)
    pool.sweep()
    assert pool.status(entry).state == "draining"
    with pytest.raises(ModelLoading):
        await use(pool, entry, hold=0)
    waiting = await start(use(pool, entry))
    may_close.set()
    assert (await waiting).engine is not engine
    assert len(backend.loads) == 2


# Failing


@pytest.mark.parametrize(
    ("error", "kind", "retry_after", "message"),
    [
        ("invalid", ModelLoadFailed, None, "a.fake: the model says that it is invalid"),
        ("transient", ModelLoadFailed, 10.0, "a.fake: the model says that its load fails"),
        ("memory", InsufficientMemory, 10.0, "the model needs 800 bytes of memory, 400 bytes are"),
    ],
)
async def test_failed_load_is_told_to_every_waiter(  # noqa: PLR0917 - a row of a table
    pool, backend, write, error, kind, retry_after, message
):
    """Each waiter gets the failure: permanent where the file is at fault, else with a cool-down."""
    entry = write("a", size_bytes=800, load_error=error)
    waiters = [use(pool, entry) for _ in range(3)]
    errors = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(one) for one in errors] == [kind] * 3
    assert message in errors[0].message
    assert {one.retry_after for one in errors} == {retry_after}
    assert {one.should_retry for one in errors} == {retry_after is not None}
    assert len({id(one) for one in errors}) == 3
    assert len(backend.loads) == 1
    assert pool.status(entry).state == "failed"
    assert message in pool.status(entry).error


async def test_retry_storm_starts_no_second_load(pool, backend, clock, write):
    """For 10 s after a failure it is repeated from memory, with what is left of the time."""
    entry = write("a", load_error="transient")
    with pytest.raises(ModelLoadFailed):
        await use(pool, entry)
    clock.advance(4)
    for _ in range(50):
        with pytest.raises(ModelLoadFailed) as caught:
            await use(pool, entry)
        assert caught.value.retry_after == 6.0
    clock.advance(5.9)
    with pytest.raises(ModelLoadFailed) as caught:
        await use(pool, entry)
    assert caught.value.retry_after == 1.0
    assert len(backend.loads) == 1


async def test_load_is_tried_again_after_the_cool_down(pool, backend, clock, write):
    """When the cool-down is over, the next request starts a load, which may succeed."""
    entry = write("a", load_error="transient", load_errors_before_success=1)
    with pytest.raises(ModelLoadFailed):
        await use(pool, entry)
    clock.advance(10)
    assert (await use(pool, entry)).entry == entry
    assert len(backend.loads) == 2


async def test_repaired_file_is_loaded_after_the_cool_down(pool, clock, write):
    """A failure that no try can change is looked at again all the same, after the cool-down."""
    entry = write("a", load_error="invalid")
    with pytest.raises(ModelLoadFailed):
        await use(pool, entry)
    write("a")
    with pytest.raises(ModelLoadFailed):
        await use(pool, entry)
    clock.advance(10)
    assert (await use(pool, entry)).entry == entry


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.fake", None, "gone.fake: no such file or folder"),
        ("text.txt", "hello", r"text.txt: no backend recognises it \(tried: fake\)"),
        ("broken.fake", "{", "broken.fake: "),
    ],
)
async def test_file_that_is_no_model_is_permanent(pool, tmp_path, name, content, message):
    """A missing, strange or damaged file fails for good, and the client sees no folder of ours."""
    path = tmp_path / name
    if content:
        path.write_text(content)
    entry = ModelEntry("a", path, "configured", ModelOptions(path=name))
    with pytest.raises(ModelLoadFailed, match=message) as caught:
        await use(pool, entry)
    assert caught.value.retry_after is None
    assert str(tmp_path) not in caught.value.message


async def test_backend_that_is_not_installed_is_permanent(pool, write):
    """A model whose backend is missing names it."""
    entry = write("a")
    options = ModelOptions(path=str(entry.path), backend="onnx")
    with pytest.raises(ModelLoadFailed, match="backend 'onnx' is not installed") as caught:
        await use(pool, ModelEntry("a", entry.path, "configured", options))
    assert caught.value.retry_after is None


class _FaultyBackend(FakeBackend):
    def load(self, *_: object) -> None:
        raise ZeroDivisionError("/secret/path")


async def test_fault_of_a_plugin_is_logged_and_not_told(make_pool, write, caplog):
    """What a backend must not raise fails the load; the log has the cause, the client has not."""
    pool = make_pool(registry=Registry({"faulty": _FaultyBackend()}))
    with pytest.raises(ModelLoadFailed) as caught:
        await use(pool, write("a"))
    assert caught.value.message == "the model 'a' could not be loaded"
    assert caught.value.retry_after == 10.0
    assert "ZeroDivisionError: /secret/path" in caplog.text


class _EmptyBackend(FakeBackend):
    def load(self, *_: object) -> None:
        return None


async def test_backend_that_loads_nothing_fails(make_pool, write):
    """A load that returns no engine has failed, and the next request gets the same error."""
    pool = make_pool(registry=Registry({"empty": _EmptyBackend()}))
    entry = write("a")
    for _ in range(2):
        with pytest.raises(ModelLoadFailed):
            await use(pool, entry)


# Idleness


async def test_idle_model_is_unloaded(make_pool, backend, clock, write):
    """A model without a request for the idle time is unloaded, and loaded again by the next one."""
    pool = make_pool(idle_ttl=60.0)
    entry = write("a")
    await use(pool, entry)
    clock.advance(59)
    pool.sweep()
    assert pool.status(entry).state == "ready"
    clock.advance(1)
    pool.sweep()
    await unloaded(pool, entry)
    assert backend.engines == []
    await use(pool, entry)
    assert len(backend.loads) == 2


async def test_leased_model_is_never_idle(make_pool, clock, write):
    """A request keeps its model however long it runs; the idle time begins with its end."""
    pool = make_pool(idle_ttl=60.0)
    entry = write("a")
    async with pool.lease(entry, Hold(10)):
        clock.advance(1000)
        pool.sweep()
        assert pool.status(entry).state == "ready"
        assert pool._idle._timer is None
    pool.sweep()
    assert pool.status(entry).state == "ready"


async def test_timer_unloads_by_itself(make_pool, backend, write):
    """The idle time is watched by a timer that a lease's end starts."""
    pool = make_pool(idle_ttl=0.01, clock=time.monotonic)
    await use(pool, write("a"))
    assert await asyncio.to_thread(backend.engines[0].closed.wait, 10)


async def test_models_stay_without_an_idle_time(make_pool, clock, write):
    """0 is never: nothing is watched."""
    pool = make_pool(idle_ttl=0.0)
    entry = write("a")
    await use(pool, entry)
    clock.advance(1e6)
    assert pool._idle._timer is None
    assert pool.status(entry).state == "ready"


# Memory


async def test_least_recently_used_model_makes_room(make_pool, clock, write):
    """The idle model that was not asked for longest is unloaded."""
    pool = make_pool(memory_budget=250)
    a, b, c = (write(name, size_bytes=100) for name in "abc")
    for entry in (a, b, a, c):
        clock.advance(1)
        await use(pool, entry)
    assert [pool.status(entry).state for entry in (a, b, c)] == ["ready", "absent", "ready"]


async def test_leased_model_makes_no_room(make_pool, clock, write):
    """A model that a request holds stays, and a younger idle one goes."""
    pool = make_pool(memory_budget=250)
    a, b, c = (write(name, size_bytes=100) for name in "abc")
    async with pool.lease(a, Hold(10)):
        for entry in (b, c):
            clock.advance(1)
            await use(pool, entry)
        assert [pool.status(entry).state for entry in (a, b, c)] == ["ready", "absent", "ready"]


async def test_load_waits_for_a_busy_model(make_pool, backend, clock, write):
    """Without room a load waits until a lease ends; meanwhile its clients get a 503."""
    pool = make_pool(memory_budget=150)
    a, b = (write(name, size_bytes=100) for name in "ab")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(pool.lease(a, Hold(10)))
        waiting = await start(use(pool, b))
        clock.advance(1000)
        with pytest.raises(ModelLoading) as caught:
            await use(pool, b, hold=0)
        assert caught.value.retry_after == 10.0
        assert len(backend.loads) == 1
        assert not waiting.done()
    assert (await waiting).entry == b
    assert pool.status(a).state == "absent"


async def test_load_finds_a_model_that_nobody_used(make_pool, backend, write):
    """A model whose waiters left before it was ready makes room as soon as it is."""
    pool = make_pool(memory_budget=150)
    a, b = (write(name, size_bytes=100) for name in "ab")
    backend.load_gate.hold()
    with pytest.raises(ModelLoading):
        await use(pool, a, hold=0)
    await reached(backend)
    waiting = await start(use(pool, b))
    backend.load_gate.release()
    assert (await waiting).entry == b


async def test_models_that_do_not_fit_together_take_turns(make_pool, backend, write):
    """Who waits for a model gets it before it makes room for another: each is loaded once."""
    pool = make_pool(memory_budget=150)
    a, b, c = (write(name, size_bytes=100) for name in "abc")
    models = await asyncio.gather(*(use(pool, entry) for entry in (a, b, c)))
    assert [model.entry for model in models] == [a, b, c]
    assert len(backend.loads) == 3


async def test_model_larger_than_the_budget_is_refused(make_pool, backend, write):
    """A model that can never fit fails permanently, with both figures, and evicts no other."""
    pool = make_pool(memory_budget=1000)
    small = write("small", size_bytes=100)
    await use(pool, small)
    big = write("big", size_bytes=900, kv_bytes_per_token=1, context_length=100)
    with pytest.raises(InsufficientMemory, match="needs 1100 bytes of memory, the budget is 1000"):
        await use(pool, big)
    with pytest.raises(InsufficientMemory) as caught:
        await use(pool, big)
    assert caught.value.retry_after is None
    assert pool.status(small).state == "ready"
    assert len(backend.loads) == 1


async def test_draft_model_counts_in_the_budget(make_pool, write):
    """Its file, and a KV cache with as many slots as its model has."""
    draft = write("draft", kv_bytes_per_token=1, context_length=50).path
    options = LoadOptions(parallel=2, speculation="draft", draft_model=draft)
    need = 1000 + draft.stat().st_size + 2 * 50
    big = write("big", size_bytes=1000)
    pool = make_pool(memory_budget=need - 1, load_options=lambda _: options)
    with pytest.raises(InsufficientMemory, match=rf"needs {memory_size(need)} of memory"):
        await use(pool, big)
    await use(make_pool(memory_budget=need, load_options=lambda _: options), big)


async def test_draft_model_that_is_missing_is_for_the_load_to_report(make_pool, write):
    """The fake backend drafts nothing, and needs none."""
    options = LoadOptions(speculation="draft", draft_model=Path("none.fake"))
    pool = make_pool(memory_budget=1000, load_options=lambda _: options)
    await use(pool, write("big", size_bytes=1000))


async def test_failed_load_gives_its_memory_back(make_pool, write):
    """What a load reserved is free again once it has failed."""
    pool = make_pool(memory_budget=100)
    bad = write("bad", size_bytes=100, load_error="transient")
    good = write("good", size_bytes=100)
    failed, model = await asyncio.gather(use(pool, bad), use(pool, good), return_exceptions=True)
    assert isinstance(failed, ModelLoadFailed)
    assert model.entry == good


async def test_engine_that_cannot_be_closed_makes_room(make_pool, write, caplog):
    """A backend that fails to close is logged, and counted as gone."""
    pool = make_pool(memory_budget=150)
    a, b = (write(name, size_bytes=100) for name in "ab")
    engine = (await use(pool, a)).engine
    close = engine.close

    def fail() -> None:
        close()
        raise OSError("cannot unmap")

    engine.close = fail
    assert (await use(pool, b)).entry == b
    assert "cannot unmap" in caplog.text


# Memory that a backend finds missing


class Machine:
    """A fake backend that counts the models it has loaded against the memory of its machine."""

    def __init__(self, backend: FakeBackend, size: int, monkeypatch) -> None:
        self._backend, self._size, self._load = backend, size, backend.load
        self.tries: list[str] = []
        monkeypatch.setattr(backend, "load", self.load)

    def available(self) -> int:
        return self._size - sum(engine.facts.size_bytes for engine in self._backend.engines)

    def load(self, facts, options, progress):
        self.tries.append(facts.path.stem)
        if facts.size_bytes > (available := self.available()):
            raise TooLittleMemory(facts.size_bytes, available)
        return self._load(facts, options, progress)


@pytest.fixture
def machine(backend, monkeypatch) -> Machine:
    """Return a machine of 250 bytes."""
    return Machine(backend, 250, monkeypatch)


def states(pool, *entries) -> list[str]:
    return [pool.status(entry).state for entry in entries]


async def test_idle_models_make_room_where_a_load_finds_too_little_memory(
    make_pool, machine, clock, write, caplog
):
    """Without a budget: the least recently used one goes, and the load is tried again."""
    caplog.set_level(logging.INFO, "pilotlight")
    pool = make_pool(available=machine.available)
    a, b, c = (write(name, size_bytes=100) for name in "abc")
    for entry in (a, b, a):
        clock.advance(1)
        await use(pool, entry)
    caplog.clear()
    assert (await use(pool, c)).entry == c
    assert states(pool, a, b, c) == ["ready", "absent", "ready"]
    assert machine.tries == ["a", "b", "c", "c"]
    assert [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING] == [
        "loading c again without b: the model needs 100 bytes of memory, 50 bytes are available"
    ]
    assert not [one for one in caplog.records if one.levelno > logging.WARNING]


async def test_as_many_idle_models_go_as_a_load_needs(make_pool, machine, clock, write):
    pool = make_pool(available=machine.available)
    a, b, c = (write(name, size_bytes=50) for name in "abc")
    big = write("big", size_bytes=180)
    for entry in (a, b, c):
        clock.advance(1)
        await use(pool, entry)
    await use(pool, big)
    assert states(pool, a, b, c, big) == ["absent", "absent", "ready", "ready"]
    assert machine.tries[3:] == ["big", "big"]


@pytest.mark.usefixtures("machine")
async def test_every_idle_model_goes_where_the_memory_left_is_unknown(make_pool, write):
    pool = make_pool(available=lambda: None)
    a, b = (write(name, size_bytes=50) for name in "ab")
    big = write("big", size_bytes=200)
    for entry in (a, b, big):
        await use(pool, entry)
    assert states(pool, a, b, big) == ["absent", "absent", "ready"]


async def test_busy_models_stay_where_a_load_finds_too_little_memory(
    make_pool, machine, clock, write
):
    """And the failure is the backend's, as ever: nothing was unloaded, nothing is tried again."""
    pool = make_pool(available=machine.available)
    a, b, c = (write(name, size_bytes=100) for name in "abc")
    async with pool.lease(a, Hold(10)), pool.lease(b, Hold(10)):
        with pytest.raises(InsufficientMemory, match="c: the model needs 100 bytes") as caught:
            await use(pool, c)
        assert caught.value.retry_after
        assert states(pool, a, b) == ["ready", "ready"]
        assert machine.tries == ["a", "b", "c"]
    clock.advance(10)
    await use(pool, c)
    assert states(pool, a, b, c) == ["absent", "ready", "ready"]


async def test_model_that_can_never_fit_unloads_nothing(make_pool, machine, write):
    """Each request for it would cost the other models their load."""
    pool = make_pool(available=machine.available)
    a, b = (write(name, size_bytes=100) for name in "ab")
    big = write("big", size_bytes=251)
    for entry in (a, b):
        await use(pool, entry)
    with pytest.raises(InsufficientMemory, match="needs 251 bytes of memory, 50 bytes are"):
        await use(pool, big)
    assert states(pool, a, b, big) == ["ready", "ready", "failed"]
    assert machine.tries == ["a", "b", "big"]


async def test_load_that_finds_too_little_memory_again_fails(make_pool, machine, write):
    """It is tried once more and no oftener, though every idle model has gone.

    Their weights counted as available before, so they made less room than they took.
    """
    pool = make_pool(available=lambda: 100)
    a, b = (write(name, size_bytes=100) for name in "ab")
    big = write("big", size_bytes=300)
    for entry in (a, b):
        await use(pool, entry)
    with pytest.raises(InsufficientMemory, match="needs 300 bytes of memory, 250 bytes are"):
        await use(pool, big)
    assert states(pool, a, b, big) == ["absent", "absent", "failed"]
    assert machine.tries == ["a", "b", "big", "big"]
    await use(pool, a)
    assert pool.status(a).state == "ready"


async def test_two_loads_share_the_room_of_one_idle_model(make_pool, machine, write):
    """The second one waits until it is unloaded for the first."""
    pool = make_pool(available=machine.available)
    a = write("a", size_bytes=200)
    b, c = (write(name, size_bytes=100) for name in "bc")
    await use(pool, a)
    models = await asyncio.gather(use(pool, b), use(pool, c))
    assert [model.entry for model in models] == [b, c]
    assert states(pool, a, b, c) == ["absent", "ready", "ready"]
    assert len(machine.tries) <= 1 + 2 * 2


async def test_other_failures_unload_nothing(make_pool, machine, write):
    pool = make_pool(available=machine.available)
    a, bad = write("a", size_bytes=100), write("bad", size_bytes=100, load_error="transient")
    await use(pool, a)
    with pytest.raises(ModelLoadFailed):
        await use(pool, bad)
    assert states(pool, a) == ["ready"]
    assert machine.tries == ["a", "bad"]


async def test_close_ends_a_load_that_makes_room(make_pool, machine, write):
    """The pool closes while an idle model is unloaded for it."""
    pool = make_pool(available=machine.available)
    a, b = (write(name, size_bytes=200) for name in "ab")
    model = await use(pool, a)
    closing, go_on = threading.Event(), threading.Event()
    close = model.engine.close

    def slow_close() -> None:
        closing.set()
        assert go_on.wait(10)
        close()

    model.engine.close = slow_close
    waiting = await start(use(pool, b))
    assert await asyncio.to_thread(closing.wait, 10)
    ending = await start(pool.close())
    go_on.set()
    await ending
    with pytest.raises(ShuttingDown):
        await waiting
    assert states(pool, a) == ["absent"]
    assert machine.tries == ["a", "b"]


# Loads that hang


class Looks:
    """A sleep that ends when a test wants it, and takes as long as was requested."""

    def __init__(self, clock) -> None:
        self._clock = clock
        self._asleep = asyncio.Event()
        self._wake = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        self._asleep.set()
        await self._wake.wait()
        self._wake.clear()
        self._clock.advance(seconds)

    async def look(self, times: int) -> None:
        """Let the load be looked at so often."""
        for _ in range(times):
            await asyncio.wait_for(self._asleep.wait(), 10)
            self._asleep.clear()
            self._wake.set()

    async def until(self, waiter: asyncio.Task) -> None:
        """Let the load be looked at until *waiter* is done."""
        while not waiter.done():
            asleep = asyncio.create_task(self._asleep.wait())
            done, _ = await asyncio.wait(
                (waiter, asleep), timeout=10, return_when=asyncio.FIRST_COMPLETED
            )
            assert done
            asleep.cancel()
            if self._asleep.is_set():
                self._asleep.clear()
                self._wake.set()


@pytest.fixture
def looks(clock) -> Looks:
    return Looks(clock)


async def hung(
    pool: Pool, backend: FakeBackend, entry: ModelEntry, looks: Looks
) -> ModelLoadFailed:
    """Block a load until it counts as hanging, and return the error of its waiter."""
    backend.load_gate.hold()
    waiter = await start(use(pool, entry, hold=1000.0))
    await reached(backend)
    await looks.until(waiter)
    with pytest.raises(ModelLoadFailed) as caught:
        await asyncio.wait_for(waiter, 10)
    return caught.value


async def test_load_without_progress_fails_its_waiters(make_pool, backend, write, looks):
    """Their error and the state name the hang, so that no request waits without end."""
    pool = make_pool(load_timeout=lambda _: 4.0, sleep=looks)
    entry = write("a", size_bytes=100)
    error = await hung(pool, backend, entry, looks)
    assert error.message.startswith("loading 'a' has made no progress for 4 s")
    assert error.retry_after is not None
    assert pool.status(entry).state == "failed"
    assert pool.status(entry).error == error.message
    assert [(one.entry, one.during, one.need) for one in pool.hangs] == [(entry, "load", 100)]


async def test_no_other_load_is_begun_while_one_hangs(make_pool, backend, clock, write, looks):
    """Its thread cannot be stopped: a thread for each try would hang beside it."""
    pool = make_pool(load_timeout=lambda _: 4.0, sleep=looks)
    entry = write("a")
    await hung(pool, backend, entry, looks)
    for _ in range(3):
        clock.advance(1000.0)
        with pytest.raises(ModelLoadFailed, match="no progress") as caught:
            await use(pool, entry)
        assert caught.value.retry_after == 10.0
    assert len(backend.loads) == 1


async def test_load_that_goes_on_after_all_is_tried_anew(make_pool, backend, clock, write, looks):
    """Its thread ends at its next report, its memory is back, and the next request loads."""
    pool = make_pool(load_timeout=lambda _: 4.0, sleep=looks)
    entry = write("a")
    await hung(pool, backend, entry, looks)
    (ended,) = pool._loads._loader._stalled
    backend.load_gate.release()
    await asyncio.wait_for(ended, 10)
    await asyncio.sleep(0)
    assert pool.hangs == []
    assert backend.engines == []
    clock.advance(11.0)
    assert (await use(pool, entry)).entry == entry
    assert len(backend.loads) == 2


async def test_engine_that_a_hanging_load_makes_is_closed(make_pool, write, looks):
    """A load that is given up ends nevertheless, and its engine is closed."""
    backend = _StubbornBackend()
    pool = make_pool(
        registry=Registry({"stubborn": backend}), load_timeout=lambda _: 4.0, sleep=looks
    )
    await hung(pool, backend, write("a"), looks)
    (ended,) = pool._loads._loader._stalled
    backend.load_gate.release()
    await asyncio.wait_for(ended, 10)
    assert backend.engines == []
    assert backend.loads


async def test_slow_load_that_makes_progress_is_left_alone(make_pool, backend, write, looks):
    """However long it takes as a whole: each step of it starts the time anew."""
    pool = make_pool(load_timeout=lambda _: 4.0, sleep=looks)
    entry = write("a", load_steps=6)
    backend.load_gate.hold()
    waiter = await start(use(pool, entry, hold=1000.0))
    for _ in range(6):
        await reached(backend)
        await looks.look(3)  # one more without progress would be too many
        backend.load_gate.release(1)
    assert (await asyncio.wait_for(waiter, 10)).entry == entry
    assert pool.hangs == []


async def test_wait_for_memory_is_no_hang(make_pool, write, looks):
    """A load that waits until another model is idle has not begun."""
    pool = make_pool(memory_budget=150, load_timeout=lambda _: 4.0, sleep=looks)
    a, b = (write(name, size_bytes=100) for name in "ab")
    async with pool.lease(a, Hold(10)):
        waiter = await start(use(pool, b, hold=1000.0))
        looks._clock.advance(1000.0)
        await asyncio.sleep(0)
        assert pool.status(b).state == "loading"
    assert (await asyncio.wait_for(waiter, 10)).entry == b


async def test_memory_of_a_hanging_load_is_not_given_away(make_pool, backend, write, looks):
    """Another model that needs the memory is refused, and the error names what holds it."""
    pool = make_pool(memory_budget=150, load_timeout=lambda _: 4.0, sleep=looks)
    await hung(pool, backend, write("a", size_bytes=100), looks)
    with pytest.raises(InsufficientMemory, match="hanging engines hold 100"):
        await use(pool, write("b", size_bytes=100))


async def test_a_load_that_waits_for_memory_hears_that_it_hangs(make_pool, backend, write, looks):
    """It was in use when the wait began, and is not given back."""
    pool = make_pool(memory_budget=150, load_timeout=lambda _: 4.0, sleep=looks)
    backend.load_gate.hold()
    first = await start(use(pool, write("a", size_bytes=100), hold=1000.0))
    await reached(backend)
    second = await start(use(pool, write("b", size_bytes=100), hold=1000.0))
    await looks.until(first)
    with pytest.raises(ModelLoadFailed, match="has made no progress"):
        await asyncio.wait_for(first, 10)
    with pytest.raises(InsufficientMemory, match="hanging engines hold 100"):
        await asyncio.wait_for(second, 10)


async def test_an_unload_that_hangs_holds_up_no_load(make_pool, write, monkeypatch):
    """What waits for its memory is refused; once it ends after all, there is room."""
    monkeypatch.setattr("pilotlight.models.memory._UNLOADING", 0.05)
    pool = make_pool(memory_budget=150)
    first = write("a", size_bytes=100)
    engine = (await use(pool, first)).base
    let, close = threading.Event(), engine.close
    monkeypatch.setattr(engine, "close", lambda: (let.wait(), close()))
    second = write("b", size_bytes=100)
    with pytest.raises(InsufficientMemory, match="hanging engines hold 100"):
        await asyncio.wait_for(use(pool, second), 10)
    assert [(one.entry, one.during, one.need) for one in pool.hangs] == [(first, "unload", 100)]
    assert pool.status(first).state == "absent"
    ended = asyncio.Event()
    monkeypatch.setattr(pool._memory, "changed", ended.set)
    let.set()
    await asyncio.wait_for(ended.wait(), 10)
    assert not pool.hangs


async def test_close_does_not_wait_for_a_load_that_hangs(make_pool, backend, write, looks):
    """A server that shuts down ends, whatever hangs in it."""
    pool = make_pool(load_timeout=lambda _: 4.0, sleep=looks)
    await hung(pool, backend, write("a"), looks)
    await asyncio.wait_for(pool.close(), 10)
    assert len(pool.hangs) == 1


async def test_close_does_not_wait_for_what_may_hang(
    make_pool, backend, write, monkeypatch, caplog
):
    """Neither for a load that was not declared to hang, nor for an engine that does not close."""
    monkeypatch.setattr("pilotlight.models.pool._ENDING", 0.05)
    pool = make_pool()
    ready = await use(pool, write("a"))
    let = threading.Event()
    monkeypatch.setattr(ready.base, "close", let.wait)
    backend.load_gate.hold()
    loading = await start(use(pool, write("b")))
    await reached(backend)
    await asyncio.wait_for(pool.close(save=0.0), 10)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    said = {record.getMessage().partition(";")[0] for record in errors}
    assert said == {"load b hangs", "close a hangs"}
    let.set()
    backend.load_gate.release()
    with pytest.raises(ShuttingDown):
        await loading


# The end


async def test_close_ends_a_load(pool, backend, write):
    """A load is abandoned at its next report; its waiters get an error, and nothing leaks."""
    entry = write("a")
    backend.load_gate.hold()
    waiter = await start(use(pool, entry))
    await reached(backend)
    closing = await start(pool.close())
    await start(asyncio.sleep(0))
    backend.load_gate.release()
    await closing
    with pytest.raises(ShuttingDown, match="the server is shutting down"):
        await waiter
    assert backend.engines == []
    assert pool.loaded == []


class _StubbornBackend(FakeBackend):
    def load(self, facts, options, progress):
        del progress
        return super().load(facts, options, lambda _: None)


async def test_close_closes_what_an_abandoned_load_still_loads(make_pool, write):
    """An engine that comes too late is closed before the pool is."""
    backend = _StubbornBackend()
    pool = make_pool(registry=Registry({"stubborn": backend}))
    backend.load_gate.hold()
    waiter = await start(use(pool, write("a")))
    await reached(backend)
    closing = await start(pool.close())
    await start(asyncio.sleep(0))
    backend.load_gate.release()
    await closing
    with pytest.raises(ShuttingDown):
        await waiter
    assert len(backend.loads) == 1
    assert backend.engines == []


async def test_close_before_the_load_has_begun(pool, backend, write):
    """A load that is cancelled before its first step ends its waiters' wait too."""
    waiter = await start(use(pool, write("a")))
    await pool.close()
    with pytest.raises(ShuttingDown):
        await asyncio.wait_for(waiter, 10)
    assert backend.loads == []


async def test_close_ends_a_load_that_waits_for_memory(make_pool, write):
    """A load without room does not keep the server from ending."""
    pool = make_pool(memory_budget=150)
    a, b = (write(name, size_bytes=100) for name in "ab")
    async with pool.lease(a, Hold(10)):
        waiter = await start(use(pool, b))
        with pytest.raises(ModelLoading):
            await use(pool, b, hold=0)
        await pool.close()
        with pytest.raises(ShuttingDown):
            await waiter


async def test_close_ends_running_requests(make_pool, backend, write):
    """A leased engine is closed too: its requests fail, and their leases end in peace."""
    pool = make_pool(idle_ttl=60.0)
    entry = write("a")
    backend.token_gate.hold()
    async with pool.lease(entry, Hold(10)) as model:
        request = GenerateRequest(prompt=(1, 2), max_tokens=5)
        listener = submit(model.engine, request).listener
        await pool.close()
        assert isinstance(listener.wait(), Failed)
    assert pool._idle._timer is None
    assert backend.engines == []


async def test_closed_pool_loads_nothing(pool, backend, write):
    """Later requests get `ShuttingDown`, also one that waited for an unloading."""
    entry = write("a")
    await use(pool, entry)
    await pool.close()
    for _ in range(2):
        with pytest.raises(ShuttingDown, match="shutting down") as caught:
            await use(pool, entry)
    assert caught.value.retry_after == 2.0
    assert len(backend.loads) == 1
    await pool.close()


async def test_no_task_stays(pool, backend, write):
    """After the end the pool has no task left."""
    backend.load_gate.hold()
    with pytest.raises(ModelLoading):
        await use(pool, write("a"), hold=0)
    await reached(backend)
    backend.load_gate.release()
    await pool.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


# What a model is for


async def test_model_that_embeds_is_held_as_any_other(pool, backend, write):
    """It is loaded, counted and closed; asked for an answer, it says what it is."""
    entry = write("e", embedding_length=4)
    model = await use(pool, entry)
    assert model.embedder is backend.embedders[0]
    assert pool.use()["e"].stats.queued == 0
    with pytest.raises(InvalidRequest, match="makes embeddings") as caught:
        _ = model.engine
    assert caught.value.param == "model"
    await pool.close()
    assert backend.embedders == []


async def test_model_that_writes_says_so(pool, backend, write):
    """Asked for embeddings."""
    model = await use(pool, write("a"))
    assert model.engine is backend.engines[0]
    with pytest.raises(InvalidRequest, match="does not make embeddings") as caught:
        _ = model.embedder
    assert caught.value.param == "model"


async def test_the_first_model_knows_that_it_is(pool, write):
    """Of those that were loaded; one that failed does not count."""
    with pytest.raises(ModelLoadFailed):
        await use(pool, write("bad", load_error="invalid"))
    assert (await use(pool, write("a"))).first
    assert not (await use(pool, write("b"))).first
