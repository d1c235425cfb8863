"""The prompt cache in /metrics: counts by tier that never fall."""

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pilotlight.config import Secret
from pilotlight.models.prompts import only_counts, with_earlier
from pilotlight_backend import PromptCacheStats
from tests.conftest import chat

LONG = "A long text that is worth to be kept, since it is evaluated again without a cache. " * 3
ONE = PromptCacheStats(**dict.fromkeys(PromptCacheStats.__struct_fields__, 1))


async def scraped(service):
    """Return the samples of the prompt cache, by name without its prefix and by tier."""
    text = (await service.client.get("/metrics")).text
    return {
        (sample.name.removeprefix("pilotlight_prompt_cache_"), sample.labels["tier"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("pilotlight_prompt_cache_")
    }


@pytest.fixture
async def service(start, tmp_path):
    """Return a service with one slot, so that each other prompt takes it, and storage."""
    service = await start(
        parallel=1,
        idle_ttl=1.0,
        prompt_cache="1MB",
        state_dir=str(tmp_path / "states"),
        api_keys=Secret("ann:one"),
    )
    service.write()
    return service


async def ask(service, text):
    response = await service.post(chat(text=text), authorization="Bearer one")
    assert response.status_code == 200


async def test_hits_saves_and_sizes_are_counted_by_tier(service):
    service.client.headers["authorization"] = "Bearer one"
    for text in (LONG, "x" * 300, LONG):
        await ask(service, text)
    await asyncio.to_thread(service.engine.save_prompts, 10)
    seen = await scraped(service)
    assert seen["hits_total", "memory"] == 1
    assert seen["saved_tokens_total", "memory"] > 200
    assert seen["hits_total", "storage"] == 0
    assert seen["restores_total", "memory"] == 1
    assert seen["saves_total", "memory"] >= 2
    assert seen["saves_total", "storage"] >= 1
    assert seen["entries", "storage"] == seen["saves_total", "storage"]
    assert seen["bytes", "storage"] > 1000
    assert seen["errors_total", "storage"] == 0
    assert ("errors_total", "memory") not in seen


async def test_counts_stay_and_sizes_go_when_the_model_is_unloaded(service):
    """And the counts go on from there when it is loaded again."""
    service.client.headers["authorization"] = "Bearer one"
    pool = service.app.state.service.pool
    for text in (LONG, "x" * 300, LONG):
        await ask(service, text)
    before = await scraped(service)
    (model,) = pool._models.values()
    await pool._memory.unload(model)
    gone = await scraped(service)
    assert service.backend.engines == []
    for (name, tier), count in before.items():
        if name.endswith("_total"):
            assert gone[name, tier] >= count, name
        else:
            assert gone[name, tier] == 0
    await ask(service, LONG)
    again = await scraped(service)
    assert again["hits_total", "memory"] == 1
    assert again["hits_total", "storage"] == 1
    assert again["restores_total", "storage"] == 1


def test_counts_are_added_and_sizes_are_not():
    added = with_earlier(ONE, with_earlier(ONE, PromptCacheStats(saves=5)))
    assert (added.saves, added.memory_hits) == (7, 2)
    assert (added.memory_bytes, added.storage_entries) == (1, 1)
    ended = only_counts(added)
    assert (ended.memory_bytes, ended.storage_bytes, ended.saves) == (0, 0, 7)
