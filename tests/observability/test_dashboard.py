"""infra/grafana/pilotlight.json shows what is exported, and nothing that is not."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import CHAT, FakeService, LiveServer, chat

DASHBOARD = Path(__file__).parents[2] / "infra/grafana/pilotlight.json"
METRICS = DASHBOARD.parents[2] / "docs/observability.md"
LEFT_OUT = {
    "pilotlight_images",  # few models see
    "process_virtual_memory_bytes",  # weights are mapped: it says little of what is used
    "process_start_time_seconds",  # Kubernetes and Cloud Run show restarts
    "process_open_fds",  # few and steady
    "process_max_fds",
    "vllm:num_requests_running",  # other names for gauges that are on it
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:lora_requests_info",  # names in labels, for routers
    "vllm:spec_decode_num_drafts",  # for vLLM's own dashboards; few models speculate
    "vllm:spec_decode_num_draft_tokens",
    "vllm:spec_decode_num_accepted_tokens",
}
PANELS = {"row", "stat", "timeseries"}
"""Kinds that Grafana has built in."""


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def asked(dashboard: dict[str, Any]) -> set[str]:
    """Return the name of every metric that some panel or variable asks for."""
    panels = (panel.get("targets", ()) for panel in dashboard["panels"])
    targets = [target["expr"] for target in itertools.chain.from_iterable(panels)]
    variables = [str(one["query"]) for one in dashboard["templating"]["list"]]
    return set(re.findall(r"\b(?:pilotlight|process)_\w+", " ".join((*targets, *variables))))


async def used(service: FakeService) -> None:
    """Let *service* do some of everything that is counted."""
    service.write("m", reply="Hello.")
    service.write("e", embedding_length=4)
    service.write("r", relevance="logit")
    service.write("bad", load_error="invalid")
    for name in ("m", "m", "nobody", "bad"):
        await service.post(chat(name))
    for letter in "abcdefa":  # the last prompt is restored: others took its slot
        await service.post(chat("m", text=letter * 200))
    await service.post({"model": "e", "input": "a"}, "/v1/embeddings")
    await service.post({"model": "r", "query": "a", "documents": ["a"]}, "/v1/rerank")


async def test_every_metric_on_it_is_exported(start, asked):
    """Each name in an expression is that of a sample in a real scrape."""
    service = await start()
    await used(service)
    scrape = (await service.client.get("/metrics")).text
    families = list(text_string_to_metric_families(scrape))
    sampled = {sample.name for family in families for sample in family.samples}
    assert asked - sampled == set()
    assert len(asked) > 20


async def test_every_metric_is_on_it_or_left_out(start, asked):
    """A metric without a panel is excluded on purpose."""
    service = await start()
    await used(service)
    scrape = (await service.client.get("/metrics")).text
    shown, missing = set(), set()
    for family in text_string_to_metric_families(scrape):
        names = {sample.name for sample in family.samples}
        if not family.name.endswith("_created"):  # when a counter began, which nobody plots
            (shown if names & asked else missing).add(family.name)
    assert missing == LEFT_OUT
    assert not shown & LEFT_OUT


async def test_every_metric_is_documented(start):
    """docs/observability.md has each by its name, but the process's own."""
    service = await start()
    await used(service)
    scrape = (await service.client.get("/metrics")).text
    documented = set(
        re.findall(r"`((?:pilotlight_|vllm:)\w+)`", METRICS.read_text(encoding="utf-8"))
    )
    exported = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in text_string_to_metric_families(scrape)
        if family.name.startswith(("pilotlight", "vllm:")) and not family.name.endswith("_created")
    }
    assert documented == exported


def test_a_real_model_exports_the_same(spark: LiveServer, asked):
    """In both formats, and whichever the backend; what is not used yet is named all the same."""
    answer = httpx.post(spark.url + CHAT, json=chat("spark", max_tokens=4), timeout=60)
    assert answer.status_code == 200
    for accept, parse in (
        ("text/plain", text_string_to_metric_families),
        ("application/openmetrics-text; version=1.0.0", openmetrics_families),
    ):
        scrape = httpx.get(spark.url + "/metrics", headers={"accept": accept}, timeout=30)
        assert scrape.headers["content-type"].startswith(accept.partition(";")[0])
        families = {family.name: family for family in parse(scrape.text)}
        suffixes = ("", "_total", "_bucket", "_sum", "_count")
        named = {name + suffix for name in families for suffix in suffixes}
        assert asked - named == set()
        tokens = families["pilotlight_completion_tokens"].samples
        assert max(one.value for one in tokens if one.name.endswith("_total")) >= 4
        busy = {one.labels["model"]: one.value for one in families["pilotlight_slots"].samples}
        assert busy == {"spark": 8}


def test_it_is_a_dashboard_of_grafana_11(dashboard):
    """Built-in panels with own names, without overlap, all of the chosen data source."""
    assert dashboard["schemaVersion"] >= 39
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["type"] for panel in panels} == PANELS
    for panel in panels:
        if panel["type"] == "row":
            continue
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(one == {"type": "prometheus", "uid": "${datasource}"} for one in sources)
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for one, other in itertools.combinations((panel["gridPos"] for panel in panels), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_its_expressions_are_whole(dashboard):
    """Brackets close, and every variable is one of its own or of Grafana's."""
    variables = {one["name"] for one in dashboard["templating"]["list"]} | {"__rate_interval"}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for opening, closing in ("()", "[]", "{}"):
                assert expression.count(opening) == expression.count(closing), expression
            assert set(re.findall(r"\$(\w+)", expression)) <= variables
