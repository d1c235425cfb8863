"""What routers and autoscalers read, from a model that was never requested to one that is full."""

import asyncio
from collections.abc import Mapping

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from pilotlight.errors import ModelLoading
from pilotlight.models.loaded import Hold
from pilotlight.observability.metrics import Metrics
from pilotlight.observability.model_gauges import ModelSnapshot
from pilotlight_backend import EngineStats
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
from tests.conftest import FakeService, chat

STATS = EngineStats(
    slots=4,
    slots_busy=3,
    queued=1,
    kv_tokens=4000,
    kv_tokens_running=1024,
    kv_capacity=4096,
    prompt_tokens=0,
    cached_tokens=0,
    completion_tokens=0,
    steps=0,
)
READY = ModelSnapshot(state="ready", progress=1.0, queued=2, stats=STATS)
EVERY = {
    "pilotlight_busy",
    "pilotlight_requests_waiting",
    "pilotlight_queued_requests",
    "pilotlight_slots",
    "pilotlight_slots_busy",
    "pilotlight_kv_tokens",
    "pilotlight_kv_capacity_tokens",
    "pilotlight_kv_usage_ratio",
    "pilotlight_load_progress_ratio",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
}


def gauges(text: str, model: str) -> dict[str, float]:
    """Return *model*'s gauges by their names."""
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.type == "gauge"
        and model in (sample.labels.get("model"), sample.labels.get("model_name"))
        and not sample.labels.keys() & {"state", "tier"}
    }


def exposed(models: Mapping[str, ModelSnapshot]) -> str:
    """Return what is scraped of *models*."""
    return Metrics(lambda: models).exposition("text/plain")[0].decode()


async def scraped(service: FakeService, model: str = "m") -> dict[str, float]:
    """Return the gauges of *model* that *service* exposes."""
    return gauges((await service.client.get("/metrics")).text, model)


def test_a_loaded_model_has_its_engine_s():
    """Who waits before the engine waits too; the cache counts what running requests need."""
    assert gauges(exposed({"m": READY}), "m") == {
        "pilotlight_busy": 6,
        "pilotlight_requests_waiting": 3,
        "pilotlight_queued_requests": 3,
        "pilotlight_slots": 4,
        "pilotlight_slots_busy": 3,
        "pilotlight_kv_tokens": 4000,
        "pilotlight_kv_capacity_tokens": 4096,
        "pilotlight_kv_usage_ratio": 0.25,
        "pilotlight_load_progress_ratio": 1,
        "vllm:num_requests_running": 3,
        "vllm:num_requests_waiting": 3,
        "vllm:kv_cache_usage_perc": 0.25,
    }


@pytest.mark.parametrize(
    ("snapshot", "counts"),
    [
        (
            replace(READY, stats=replace(STATS, drafts=3, drafted_tokens=40, accepted_tokens=31)),
            [3, 40, 31],
        ),
        (READY, [0, 0, 0]),
        (ModelSnapshot(), [0, 0, 0]),
    ],
)
def test_drafts_are_counted_as_vllm_does(snapshot, counts):
    """By the names that its dashboards have, 0 without speculation."""
    text = exposed({"m": snapshot})
    told = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.type == "counter" and sample.labels == {"model_name": "m"}
    }
    names = ("num_drafts", "num_draft_tokens", "num_accepted_tokens")
    assert told == {
        f"vllm:spec_decode_{name}_total": count for name, count in zip(names, counts, strict=True)
    }


def test_a_model_that_was_never_loaded_has_every_gauge():
    """A series that is missing is no zero to an autoscaler."""
    assert gauges(exposed({"m": ModelSnapshot()}), "m") == dict.fromkeys(EVERY, 0)


@pytest.mark.parametrize(
    ("model", "busy"),
    [
        (ModelSnapshot(state="loading"), 1),
        (ModelSnapshot(state="loading", held=3), 3),
        (ModelSnapshot(state="failed"), 0),
        (ModelSnapshot(state="draining"), 0),
        (ModelSnapshot(state="ready", stats=replace(STATS, slots_busy=0, queued=0)), 0),
    ],
)
def test_a_load_is_busy(model, busy):
    """Also one without waiting requests: its clients were refused, and come back."""
    assert model.busy == busy


def test_a_model_that_embeds_has_no_cache():
    """And no division by its size."""
    assert replace(READY, stats=replace(STATS, kv_capacity=0)).kv_usage == 0


def test_each_model_is_in_one_state():
    """Every state of a known model has a series, so the one that it left becomes 0."""
    text = exposed({"m": READY, "n": ModelSnapshot(state="failed", held=2), "o": ModelSnapshot()})
    states = {
        (sample.labels["model"], sample.labels["state"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "pilotlight_model_state"
    }
    assert len(states) == 15
    assert [key for key, value in states.items() if value] == [
        ("m", "ready"),
        ("n", "failed"),
        ("o", "absent"),
    ]
    assert "pilotlight_held_requests 2.0" in text


async def test_configured_models_are_there_from_the_first_scrape(start, tmp_path):
    """Before anything is loaded, and those that are to be preloaded while others load."""
    (tmp_path / "models.yaml").write_text("models:\n  big: big.fake\n", encoding="utf-8")
    for name in ("big", "m", "n"):  # before the start, which looks for those to preload
        FakeModel().write(tmp_path / "models" / f"{name}.fake")
    backend = FakeBackend()
    backend.load_gate.hold()
    service = await start(backend=backend, preload=("m", "N"))
    for name in ("big", "n"):
        assert await scraped(service, name) == dict.fromkeys(EVERY, 0)
    backend.load_gate.release()
    await service.app.state.service.preloaded()
    assert (await scraped(service, "n"))["pilotlight_load_progress_ratio"] == 1
    assert (await scraped(service, "N")) == {}


async def test_a_request_is_seen_from_its_load_to_its_end(start):
    """Held it waits and the model is busy; it runs; then all is 0 but what the cache keeps."""
    service = await start(parallel=1)
    service.write(reply="Hello.")
    pool = service.app.state.service.pool
    service.backend.load_gate.hold()
    entry = await service.app.state.service.resolver.resolve("m")
    with pytest.raises(ModelLoading):
        await pool.ensure_ready(entry, Hold(0))
    loading = await scraped(service)
    assert (loading["pilotlight_busy"], loading["vllm:num_requests_waiting"]) == (1, 0)

    service.backend.token_gate.hold()
    service.backend.load_gate.release()
    async with pool.lease(entry, Hold(30)):
        engine = service.engine
    answer = asyncio.create_task(service.post(chat()))
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    running = await scraped(service)
    assert running["pilotlight_busy"] == running["vllm:num_requests_running"] == 1
    assert 0 < running["vllm:kv_cache_usage_perc"] < 1
    service.backend.token_gate.release()
    assert (await answer).status_code == 200
    while engine.stats().slots_busy:  # noqa: ASYNC110 - its thread ends the request
        await asyncio.sleep(0.01)
    after = await scraped(service)
    assert (after["pilotlight_busy"], after["vllm:kv_cache_usage_perc"]) == (0, 0)
    assert after["pilotlight_kv_tokens"] > 0
