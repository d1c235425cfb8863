"""What is counted, and how it is exposed."""

import threading

import pytest
from msgspec.structs import replace
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from pilotlight import __version__
from pilotlight.observability.metrics import (
    _FEW,
    _MANY,
    AnswerRecord,
    LoadRecord,
    Metrics,
    RequestRecord,
)
from pilotlight.observability.model_gauges import ModelSnapshot
from pilotlight_backend import EngineStats

STATS = EngineStats(
    slots=4,
    slots_busy=3,
    queued=2,
    kv_tokens=100,
    kv_tokens_running=64,
    kv_capacity=4096,
    prompt_tokens=0,
    cached_tokens=0,
    completion_tokens=0,
    steps=0,
)
ANSWER = AnswerRecord(
    model="m",
    outcome="stop",
    queue=0.5,
    prefill=1.0,
    first_token=2.0,
    decode=9.0,
    prompt_tokens=30,
    cached_tokens=10,
    completion_tokens=4,
    hold=0.25,
    took=11.5,
)
REQUEST = RequestRecord(method="POST", route="/v1/x", status=200, seconds=2.0)


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return every sample by its name and its labels' values, in the order of their names."""
    body, content_type = metrics.exposition("text/plain")
    assert content_type.startswith("text/plain")
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


@pytest.fixture
def metrics() -> Metrics:
    models = {
        "m": ModelSnapshot(state="ready", progress=1.0, stats=STATS),
        "n": ModelSnapshot(state="failed"),
    }
    return Metrics(lambda: models)


def test_an_answer_is_counted_and_timed(metrics):
    """Tokens are summed, each time lands in its histogram, the decode as time a token."""
    metrics.note(ANSWER)
    metrics.note(ANSWER)
    told = samples(metrics)
    assert told["pilotlight_requests_total", "m", "stop"] == 2
    assert told["pilotlight_prompt_tokens_total", "m"] == 60
    assert told["pilotlight_cached_tokens_total", "m"] == 20
    assert told["pilotlight_completion_tokens_total", "m"] == 8
    assert told["pilotlight_time_to_first_token_seconds_sum", "m"] == 4.0
    assert told["pilotlight_queue_seconds_sum", "m"] == 1.0
    assert told["pilotlight_prefill_seconds_bucket", "1.0", "m"] == 2
    assert told["pilotlight_time_per_output_token_seconds_sum", "m"] == 6.0
    assert told["pilotlight_decode_seconds_sum", "m"] == 18.0
    assert told["pilotlight_hold_seconds_sum", "m"] == 0.5
    assert told["pilotlight_request_seconds_sum", "m"] == 23.0
    assert ("pilotlight_embedding_inputs_total", "m") not in told


def test_embeddings_are_counted(metrics):
    """By their texts: they have no tokens of an answer."""
    metrics.note(AnswerRecord(model="e", outcome="stop", decode=0.0, inputs=3, prompt_tokens=9))
    told = samples(metrics)
    assert told["pilotlight_embedding_inputs_total", "e"] == 3
    assert told["pilotlight_prompt_tokens_total", "e"] == 9
    assert ("pilotlight_decode_seconds_count", "e") not in told


def test_requests_are_timed_by_route_and_status(metrics):
    """An error is counted by its code too, also one that came in a stream."""
    metrics.note(REQUEST)
    metrics.note(replace(REQUEST, error="inference_error"))
    metrics.note(replace(REQUEST, route=None, status=404, error="not_found"))
    told = samples(metrics)
    duration = "pilotlight_http_request_duration_seconds"
    assert told[f"{duration}_sum", "POST", "/v1/x", "200"] == 4.0
    assert told[f"{duration}_count", "POST", "_OTHER", "404"] == 1
    assert told["pilotlight_errors_total", "inference_error", "/v1/x"] == 1
    assert told["pilotlight_errors_total", "not_found", "_OTHER"] == 1


def test_a_request_that_came_to_nothing_is_counted_and_not_timed(metrics):
    """What never began has an outcome and no times; one token has no time from token to token."""
    metrics.note(AnswerRecord(model="m", outcome="model_loading"))
    metrics.note(AnswerRecord(model="m", outcome="length", decode=1.0, completion_tokens=1))
    told = samples(metrics)
    assert told["pilotlight_requests_total", "m", "model_loading"] == 1
    assert not [name for name, *_ in told if name.endswith("_seconds_sum")]


def test_a_load_is_told_by_its_phases(metrics):
    """Each phase has its own histogram; a load that failed is counted by its code."""
    metrics.note(
        LoadRecord(model="m", backend="b", outcome="ready", phases={"read": 2.0, "load": 0.5})
    )
    metrics.note(LoadRecord(model="m", backend="", outcome="model_load_failed", phases={}))
    told = samples(metrics)
    assert told["pilotlight_load_phase_seconds_sum", "b", "m", "read"] == 2.0
    assert told["pilotlight_load_phase_seconds_count", "b", "m", "load"] == 1
    assert told["pilotlight_loads_total", "b", "m", "ready"] == 1
    assert told["pilotlight_loads_total", "", "m", "model_load_failed"] == 1


def test_the_version_is_told(metrics):
    """As a label of a constant, as is the custom."""
    assert samples(metrics)["pilotlight_build_info", __version__] == 1


def test_records_do_not_pile_up(metrics):
    """Without a scrape records are counted too, and freed."""
    for _ in range(_MANY):
        metrics.note(ANSWER)
    assert metrics._importing is not None
    metrics._importing.join()
    for _ in range(2 * _MANY + 1):
        metrics.note(ANSWER)
    assert len(metrics._waiting) <= _FEW
    assert samples(metrics)["pilotlight_requests_total", "m", "stop"] == 3 * _MANY + 1


def test_what_counts_is_imported_beside_the_event_loop(metrics, monkeypatch):
    """As long as that takes records wait, however many they are, and none is lost."""
    imported = threading.Event()
    monkeypatch.setattr("pilotlight.observability.metrics.import_library", imported.wait)
    for _ in range(3 * _MANY):
        metrics.note(ANSWER)
    assert len(metrics._waiting) == 3 * _MANY
    imported.set()
    metrics._importing.join()
    metrics.note(ANSWER)
    assert not metrics._waiting
    assert samples(metrics)["pilotlight_requests_total", "m", "stop"] == 3 * _MANY + 1


def test_openmetrics_is_told_to_whom_asks_for_it(metrics):
    """The format is the client's choice."""
    body, content_type = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    metrics.note(ANSWER)
    body, _ = metrics.exposition("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in openmetrics_families(body.decode())}
    (total, _) = families["pilotlight_completion_tokens"].samples
    assert (total.name, total.value) == ("pilotlight_completion_tokens_total", 4)


def test_two_services_count_apart():
    """Each has a registry of its own."""
    one, other = Metrics(dict), Metrics(dict)
    one.note(ANSWER)
    assert ("pilotlight_requests_total", "m", "stop") not in samples(other)
