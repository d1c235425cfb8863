"""The manifests for KEDA and the Inference Gateway: their schemas, and what they name."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pilotlight.observability.metrics import Metrics
from pilotlight.observability.model_gauges import ModelSnapshot
from tests.container.schemas import complaints, documents, kubernetes_schema
from tests.container.test_manifests import DEPLOYMENT, INFRA, MANIFESTS, settings

SCALED = INFRA / "keda/scaledobject.yaml"
TO_ZERO = INFRA / "keda/scale-to-zero.yaml"
HTTP_SCALED = INFRA / "keda/httpscaledobject.yaml"
POOL = INFRA / "inference-gateway/inferencepool.yaml"
OBJECTS = [DEPLOYMENT, SCALED, TO_ZERO, HTTP_SCALED, POOL]
KEDA = [SCALED, TO_ZERO, HTTP_SCALED]


def objects(*paths: Path) -> list[dict[str, Any]]:
    return [one for path in paths for one in documents(path)]


def only(path: Path, kind: str) -> dict[str, Any]:
    """Return the spec of the one object of *kind* in *path*."""
    (found,) = (one for one in documents(path) if one["kind"] == kind)
    return found["spec"]


def picker_config() -> dict[str, Any]:
    """Return the configuration of the endpoint picker, which is text in a ConfigMap."""
    (found,) = (one for one in documents(POOL) if one["kind"] == "ConfigMap")
    return yaml.safe_load(found["data"]["epp-config.yaml"])


def exported() -> set[str]:
    """Return the names of the gauges that /metrics has of each model."""
    text = Metrics(lambda: {"m": ModelSnapshot()}).exposition("text/plain")[0].decode()
    return {family.name for family in text_string_to_metric_families(text)}


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


MAPS = {"labels", "annotations", "matchLabels", "data"}
"""Fields with arbitrary keys."""


def fields(node: Any) -> Iterator[str]:
    """Yield the name of every field in *node*; containers have a schema of their own."""
    if isinstance(node, list):
        for one in node:
            yield from fields(one)
    elif isinstance(node, dict):
        for key, value in node.items():
            yield key
            is_map = key in MAPS or (key == "selector" and "matchLabels" not in value)
            if not is_map and key != "containers":
                yield from fields(value)


# ── schemas ─────────────────────────────────────────────────────────────────────────────────────


def test_every_manifest_is_looked_at():
    assert set(INFRA.rglob("*.yaml")) == {*MANIFESTS, *OBJECTS}


@pytest.mark.parametrize(
    "given", objects(*OBJECTS), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}"
)
def test_objects_are_as_their_schemas_have_them(given):
    assert complaints(kubernetes_schema(given["kind"]), given) == []


def test_the_picker_s_configuration_is_as_its_schema_has_it():
    config = picker_config()
    assert complaints(kubernetes_schema(config["kind"]), config) == []
    plugins = {one["type"] for one in config["plugins"]}
    (profile,) = config["schedulingProfiles"]
    assert {one["pluginRef"] for one in profile["plugins"]} <= plugins


@pytest.mark.parametrize(
    ("given", "field"),
    [(one, field) for one in objects(*OBJECTS) for field in sorted(set(fields(one)))],
    ids=lambda one: one["kind"] if isinstance(one, dict) else one,
)
def test_a_misspelled_field_is_found(given, field):
    """At every depth: Kubernetes itself drops what it does not know."""
    misspelled = json.loads(json.dumps(given).replace(f'"{field}":', f'"{field}x":'))
    assert complaints(kubernetes_schema(given["kind"]), misspelled)


# ── what they name ──────────────────────────────────────────────────────────────────────────────


def test_pods_are_selected_by_the_labels_they_have():
    spec = only(DEPLOYMENT, "Deployment")
    labels = spec["template"]["metadata"]["labels"].items()
    assert spec["selector"]["matchLabels"].items() <= labels
    assert only(DEPLOYMENT, "Service")["selector"].items() <= labels
    assert only(POOL, "InferencePool")["selector"]["matchLabels"].items() <= labels
    engines = {one["name"] for one in picker_parameters()["engineConfigs"]}
    assert {value for name, value in labels if name.endswith("/engine-type")} == engines


def test_ports_are_those_of_the_container():
    (container,) = only(DEPLOYMENT, "Deployment")["template"]["spec"]["containers"]
    (port,) = container["ports"]
    (service,) = only(DEPLOYMENT, "Service")["ports"]
    assert service["targetPort"] == port["name"]
    assert only(POOL, "InferencePool")["targetPorts"] == [{"number": port["containerPort"]}]
    targets = [only(TO_ZERO, "InterceptorRoute")["target"]]
    targets.append(only(HTTP_SCALED, "HTTPScaledObject")["scaleTargetRef"])
    assert {(one["service"], one["port"]) for one in targets} == {("pilotlight", service["port"])}
    annotations = only(DEPLOYMENT, "Deployment")["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])


def test_one_autoscaler_owns_the_replicas():
    """Each of the three files alone scales the Deployment, which says no number itself."""
    assert "replicas" not in only(DEPLOYMENT, "Deployment")
    specs = [only(SCALED, "ScaledObject"), only(TO_ZERO, "ScaledObject")]
    specs.append(only(HTTP_SCALED, "HTTPScaledObject"))
    assert {one["scaleTargetRef"]["name"] for one in specs} == {"pilotlight"}


def test_the_route_scales_what_it_leads_to():
    names = {one["metadata"]["name"] for one in documents(TO_ZERO)}
    push, _ = only(TO_ZERO, "ScaledObject")["triggers"]
    assert names == {push["metadata"]["interceptorRoute"]}


def test_the_gateway_s_objects_name_the_pool():
    (rule,) = only(POOL, "HTTPRoute")["rules"]
    (backend,) = rule["backendRefs"]
    pool = {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "pilotlight"}
    assert backend == pool
    assert only(POOL, "InferenceObjective")["poolRef"]["name"] == pool["name"]


def picker_parameters() -> dict[str, Any]:
    (found,) = (
        one["parameters"]
        for one in picker_config()["plugins"]
        if one["type"] == "core-metrics-extractor"
    )
    return found


def test_the_picker_reads_metrics_that_exist():
    """An empty one is not looked for: there are no adapters and no blocks."""
    (engine,) = picker_parameters()["engineConfigs"]
    assert picker_parameters()["defaultEngine"] == engine["name"]
    read = {value for key, value in engine.items() if key.endswith("Spec")}
    assert read - {""} <= exported()
    assert [key for key, value in engine.items() if not value] == ["loraSpec", "cacheInfoSpec"]


@pytest.mark.parametrize("path", [SCALED, TO_ZERO], ids=lambda path: path.stem)
def test_keda_asks_for_a_metric_that_exists(path):
    queries = [
        trigger["metadata"]["query"]
        for trigger in only(path, "ScaledObject")["triggers"]
        if trigger["type"] == "prometheus"
    ]
    names = {name for query in queries for name in re.findall(r"pilotlight_\w+", query)}
    assert names == {"pilotlight_busy"}
    assert names <= exported()


# ── numbers, with their reasons in infra/README.md ──────────────────────────────────────────────


def thresholds(path: Path) -> list[int]:
    """Return the requests for each pod that *path* aims at."""
    found = []
    for one in documents(path):
        if metric := one["spec"].get("scalingMetric"):
            found.append(metric["concurrency"]["targetValue"])
        triggers = [trigger["metadata"] for trigger in one["spec"].get("triggers", ())]
        found += [int(one["threshold"]) for one in triggers if "threshold" in one]
    return found


@pytest.mark.parametrize("path", KEDA, ids=lambda path: path.stem)
def test_the_request_that_finds_no_slot_starts_another_pod(path):
    """The autoscaler wants ceil(requests / threshold) pods."""
    slots = settings(DEPLOYMENT).parallel
    assert thresholds(path)
    for threshold in thresholds(path):
        assert math.ceil(slots / threshold) == 1
        assert math.ceil((slots + 1) / threshold) == 2


def test_to_zero_goes_what_something_can_wake():
    """The server's metrics are gone with its last pod."""
    for path, least in ((SCALED, 1), (TO_ZERO, 0)):
        spec = only(path, "ScaledObject")
        assert spec["minReplicaCount"] == least
        wakes = any(trigger["type"] == "external-push" for trigger in spec["triggers"])
        assert wakes == (least == 0)
    assert only(HTTP_SCALED, "HTTPScaledObject")["replicas"]["min"] == 0


def test_a_refused_client_finds_its_pod_again():
    most = settings(DEPLOYMENT).max_retry_after
    assert only(TO_ZERO, "ScaledObject")["cooldownPeriod"] > most
    assert only(HTTP_SCALED, "HTTPScaledObject")["scaledownPeriod"] > most


def test_requests_end_before_a_proxy_cuts_them():
    ours = settings(DEPLOYMENT).request_timeout
    route, scaled = only(TO_ZERO, "InterceptorRoute"), only(HTTP_SCALED, "HTTPScaledObject")
    (rule,) = only(POOL, "HTTPRoute")["rules"]
    theirs = [one["timeouts"]["responseHeader"] for one in (route, scaled)]
    theirs.append(rule["timeouts"]["request"])
    assert 0 < ours <= min(map(seconds, theirs)) - 60


def test_pods_have_their_grace_before_they_are_killed():
    """The preStop hook counts, too."""
    spec = only(DEPLOYMENT, "Deployment")["template"]["spec"]
    (container,) = spec["containers"]
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    ends = waits + settings(DEPLOYMENT).grace
    assert ends + 10 <= spec["terminationGracePeriodSeconds"]
