"""Cached prompts of the pool's models: saved before an engine is closed, and cleared."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from pilotlight.models.loaded import Hold
from pilotlight_backend import EngineClosed, LoadOptions, PromptCacheOptions
from pilotlight_backend.testing.conformance.listener import request_of, run

PROMPT = list(range(100, 200))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "states"


@pytest.fixture
def cached_pool(make_pool, folder):
    """Return a pool whose models store prompts in *folder*."""
    cache = PromptCacheOptions(memory_bytes=1 << 20, storage=str(folder))
    return make_pool(load_options=lambda _: LoadOptions(parallel=2, prompt_cache=cache))


async def ask(pool, entry, scope):
    """Return how many tokens were cached for a request of *scope*."""
    async with pool.lease(entry, Hold(10.0)) as model:
        request = replace(request_of(PROMPT, 2), scope=scope)
        listener = await asyncio.to_thread(run, model.engine, request)
    return listener.finish().usage.cached_tokens


def files(folder: Path) -> int:
    return len(list(folder.iterdir())) if folder.exists() else 0


async def test_prompts_of_every_loaded_model_are_cleared(cached_pool, write):
    entries = [write("a"), write("b")]
    for entry in entries:
        for scope in ("ann", "bob"):
            await ask(cached_pool, entry, scope)
    await cached_pool.clear_prompts("ann")
    for entry in entries:
        assert await ask(cached_pool, entry, "bob") > 64
        assert await ask(cached_pool, entry, "ann") == 0


async def test_a_model_that_is_unloaded_has_stored_its_prompts_by_then(
    cached_pool, write, folder, backend, monkeypatch
):
    """Clearing waits for that, so that what it stores is deleted after it."""
    entry = write("a")
    await ask(cached_pool, entry, "ann")
    (engine,) = backend.engines
    saving, may_save = asyncio.Event(), asyncio.Event()
    loop, save = asyncio.get_running_loop(), engine.save_prompts

    def save_late(seconds):
        loop.call_soon_threadsafe(saving.set)
        asyncio.run_coroutine_threadsafe(may_save.wait(), loop).result(10)
        save(seconds)

    monkeypatch.setattr(engine, "save_prompts", save_late)
    (model,) = cached_pool._models.values()
    cached_pool._memory.unload(model)
    await saving.wait()
    clearing = asyncio.create_task(cached_pool.clear_prompts("bob"))
    await asyncio.sleep(0)
    assert not clearing.done()
    may_save.set()
    await clearing
    assert (cached_pool.status(entry).state, files(folder)) == ("absent", 1)


async def test_an_engine_that_has_died_has_no_prompts(cached_pool, write, backend, monkeypatch):
    """No caller gets an error: there is nothing left to delete."""
    entry = write("a")
    await ask(cached_pool, entry, "ann")

    def dead(_owner):
        raise EngineClosed("the process has ended")

    monkeypatch.setattr(backend.engines[0], "clear_prompts", dead)
    await cached_pool.clear_prompts(None)


async def test_a_pool_that_closes_saves_for_as_long_as_it_is_given(
    cached_pool, write, backend, monkeypatch
):
    """A server that has used up its grace period waits for no storage."""
    await ask(cached_pool, write("a"), "ann")
    given = []
    monkeypatch.setattr(backend.engines[0], "save_prompts", given.append)
    await cached_pool.save_prompts(3.0)
    await cached_pool.close(save=0.0)
    assert given == [3.0]


async def test_a_pool_that_closes_saves_what_is_cached(cached_pool, write, folder):
    await ask(cached_pool, write("a"), "ann")
    await cached_pool.close()
    assert files(folder) == 1
