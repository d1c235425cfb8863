"""The manifests, against the platforms' schemas and limits, and our own settings and routes."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pilotlight.config import PREFIX, Settings, environment_name, load_settings
from pilotlight.server.app import create_app
from tests.container.schemas import (
    cloud_run_schema,
    complaints,
    container_schema,
    deployment_container_schema,
    documents,
    knative_schema,
)

REPOSITORY = Path(__file__).parents[2]
INFRA = REPOSITORY / "infra"
CLOUD_RUN = INFRA / "cloudrun/service.yaml"
KNATIVE = INFRA / "knative/service.yaml"
KSERVE = INFRA / "kserve/serving-runtime.yaml"
DEPLOYMENT = INFRA / "kubernetes/deployment.yaml"
CLUSTER = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
SERVICE = {"K_SERVICE": "pilotlight"}
PLATFORM = {CLOUD_RUN: SERVICE, KNATIVE: SERVICE | CLUSTER, KSERVE: SERVICE | CLUSTER}
SERVED = [CLOUD_RUN, KNATIVE, KSERVE]
MANIFESTS = [*SERVED, DEPLOYMENT]
"""Those that have containers; tests/container/test_autoscaling.py looks at the others."""
CONTAINERFILE = (REPOSITORY / "Containerfile").read_text()

KNATIVE_DRAIN = 30  # seconds that queue-proxy goes on serving before the app's SIGTERM


def containers(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every container in *node*, wherever it stands."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from containers(child)
    if isinstance(node, dict):
        yield from node.get("containers", ())


def container(path: Path) -> dict[str, Any]:
    (only,) = containers(documents(path))
    return only


def revision(path: Path) -> dict[str, Any]:
    (service,) = documents(path)
    return service["spec"]["template"]["spec"]


def variables(path: Path) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container(path)["env"]}


def settings(path: Path) -> Settings:
    """Return the settings that are in force on the platform, which sets a variable of its own."""
    return load_settings({}, PLATFORM.get(path, CLUSTER) | variables(path))


# ── schemas ─────────────────────────────────────────────────────────────────────────────────────


def test_knative_service_is_as_its_crd_has_it():
    (service,) = documents(KNATIVE)
    assert complaints(knative_schema(), service) == []


def test_cloud_run_service_is_as_its_api_has_it():
    (service,) = documents(CLOUD_RUN)
    assert complaints(cloud_run_schema(), service) == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_containers_are_as_kubernetes_has_them(path: Path):
    """KServe's schemas are too large to keep; its containers are Kubernetes', as Knative's are."""
    found = list(containers(documents(path)))
    assert found
    schema = deployment_container_schema() if path == DEPLOYMENT else container_schema()
    assert [complaints(schema, one) for one in found] == [[]] * len(found)


@pytest.mark.parametrize(
    ("schema", "path"), [(knative_schema, KNATIVE), (cloud_run_schema, CLOUD_RUN)]
)
def test_the_keys_of_the_readme_can_be_mounted(schema, path):
    """As it says: into the spec that has the containers. They are found where they are mounted."""
    (service,) = documents(path)
    spec = service["spec"]["template"]["spec"]
    given = keys_of_the_readme()
    (container,), (mounted,) = spec["containers"], given["containers"]
    container["env"] += mounted["env"]
    container["volumeMounts"] = mounted["volumeMounts"]
    spec["volumes"] = given["volumes"]
    assert complaints(schema(), service) == []


def test_the_keys_of_the_readme_are_found_where_they_are_mounted():
    """By a path that KServe takes too, whose containers are Kubernetes'."""
    given = keys_of_the_readme()
    (mounted,), (volume,) = given["containers"], given["volumes"]
    (variable,), (mount,), (item,) = (
        mounted["env"],
        mounted["volumeMounts"],
        volume["secret"]["items"],
    )
    assert complaints(container_schema(), {"image": "IMAGE", **mounted}) == []
    assert mount["name"] == volume["name"]
    found = load_settings({}, {variable["name"]: variable["value"]}).api_keys_file
    assert str(found) == f"{mount['mountPath']}/{item['path']}"


def keys_of_the_readme() -> dict[str, Any]:
    section = (INFRA / "README.md").read_text().partition("## API keys")[2]
    return yaml.safe_load(section.partition("```yaml\n")[2].partition("```")[0])


def test_kserve_model_finds_its_runtime():
    runtime, service = documents(KSERVE)
    model = service["spec"]["predictor"]["model"]
    formats = [one["name"] for one in runtime["spec"]["supportedModelFormats"]]
    assert [runtime["kind"], service["kind"]] == ["ServingRuntime", "InferenceService"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in formats
    assert container(KSERVE)["name"] == "kserve-container"


@pytest.mark.parametrize(
    "field", ["name", "template", "annotations", "timeoutSeconds", "env", "httpGet"]
)
@pytest.mark.parametrize(
    ("schema", "path"), [(knative_schema, KNATIVE), (cloud_run_schema, CLOUD_RUN)]
)
def test_a_misspelled_field_is_found(schema, path, field):
    """The schemas refuse what they do not know, at every depth that is used."""
    text = json.dumps(documents(path)[0])
    misspelled = text.replace(f'"{field}":', f'"{field}s":')
    assert misspelled != text
    assert complaints(schema(), json.loads(misspelled))


def test_one_yaml_cannot_serve_both():
    """Which is why there are two: Cloud Run knows no securityContext."""
    (service,) = documents(KNATIVE)
    assert any("securityContext" in one for one in complaints(cloud_run_schema(), service))


# ── our own settings and routes ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_variables_are_settings_with_values_they_take(path: Path):
    assert settings(path).preload


@pytest.mark.parametrize(
    "path", [REPOSITORY / "Containerfile", *INFRA.rglob("*.md")], ids=lambda path: path.name
)
def test_variables_in_texts_are_settings(path: Path):
    known = {environment_name(field) for field in Settings.__struct_fields__}
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", path.read_text()))
    assert named
    assert named <= known


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_probes_ask_for_routes_of_the_application(path: Path):
    routes = {route.path for route in create_app(Settings()).litestar.routes}
    probes = [value for key, value in container(path).items() if key.endswith("Probe")]
    assert probes
    assert {probe["httpGet"]["path"] for probe in probes} <= routes


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_ports_are_http1_and_the_image_s(path: Path):
    """Named h2c, Knative's proxy would answer 502: uvicorn does not speak it."""
    (port,) = container(path)["ports"]
    assert port["name"] == "http1"
    assert f"PORT={port['containerPort']} " in CONTAINERFILE
    assert f"EXPOSE {port['containerPort']}\n" in CONTAINERFILE


# ── limits, with their sources in infra/README.md ───────────────────────────────────────────────


def test_cloud_run_limits():
    spec, given = revision(CLOUD_RUN), settings(CLOUD_RUN)
    startup = container(CLOUD_RUN)["startupProbe"]
    assert startup["httpGet"]["path"] == "/readyz"
    assert startup["periodSeconds"] == 1
    assert startup["timeoutSeconds"] <= startup["periodSeconds"]
    assert startup["failureThreshold"] * startup["periodSeconds"] <= 240
    assert spec["timeoutSeconds"] <= 3600
    assert given.grace < 10
    # A second instance starts when the slots of the first are taken.
    assert spec["containerConcurrency"] * 0.6 >= given.parallel
    assert annotations(CLOUD_RUN)["run.googleapis.com/startup-cpu-boost"] == "true"


def test_knative_limits():
    spec, given = revision(KNATIVE), settings(KNATIVE)
    assert spec["timeoutSeconds"] <= 600
    assert spec["responseStartTimeoutSeconds"] <= spec["timeoutSeconds"]
    # A response that is not streamed starts when it is complete.
    assert spec["responseStartTimeoutSeconds"] > given.request_timeout
    assert spec["containerConcurrency"] >= given.parallel


def test_kserve_limits():
    """KServe sets the revision's responseStartTimeoutSeconds to `timeout` as well."""
    predictor = documents(KSERVE)[1]["spec"]["predictor"]
    assert predictor["timeout"] <= 600
    assert predictor["containerConcurrency"] >= settings(KSERVE).parallel


def platform_timeout(path: Path) -> int:
    """Return the seconds after which the platform cuts a request."""
    if path == KSERVE:
        return documents(KSERVE)[1]["spec"]["predictor"]["timeout"]
    return revision(path)["timeoutSeconds"]


def annotations(path: Path) -> dict[str, str]:
    if path == KSERVE:
        return documents(KSERVE)[1]["metadata"]["annotations"]
    return documents(path)[0]["spec"]["template"]["metadata"]["annotations"]


@pytest.mark.parametrize("path", SERVED, ids=lambda path: path.parent.name)
def test_requests_end_before_the_platform_cuts_them(path: Path):
    """Its cut ends a stream without an error; a minute is left for what is before and behind us."""
    assert 0 < settings(path).request_timeout <= platform_timeout(path) - 60


@pytest.mark.parametrize("path", [KNATIVE, KSERVE], ids=lambda path: path.parent.name)
def test_requests_that_come_late_into_a_drain_still_have_their_grace(path: Path):
    """Knative's terminationGracePeriodSeconds is the revision's timeoutSeconds.

    queue-proxy's preStop hook ends 30 s after the last request, not after the first notice.
    """
    left = platform_timeout(path) - KNATIVE_DRAIN - settings(path).grace
    assert left >= 60


@pytest.mark.parametrize("path", [KNATIVE, KSERVE], ids=lambda path: path.parent.name)
def test_probes_leave_the_cold_start_alone(path: Path):
    """A startupProbe would turn off the activator's own probing, a readiness period slows ours."""
    probes = {key: one for key, one in container(path).items() if key.endswith("Probe")}
    assert set(probes) == {"readinessProbe", "livenessProbe"}
    assert probes["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert "periodSeconds" not in probes["readinessProbe"]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_a_process_that_hangs_is_restarted(path: Path):
    """And only one: /livez is 200 whatever is loaded, and three answers have to fail."""
    probe = container(path)["livenessProbe"]
    assert probe["httpGet"]["path"] == "/livez"
    assert probe["failureThreshold"] >= 3
    assert probe["periodSeconds"] >= probe["timeoutSeconds"] >= 1


@pytest.mark.parametrize("path", [KNATIVE, KSERVE], ids=lambda path: path.parent.name)
def test_the_request_that_finds_no_slot_starts_another_pod(path: Path):
    """Knative wants ceil(requests / target) pods, the target being a share of the concurrency."""
    percentage = int(annotations(path)["autoscaling.knative.dev/target-utilization-percentage"])
    slots, concurrency = settings(path).parallel, 8

    def pods(requests: int, percentage: int) -> int:
        return math.ceil(requests / (concurrency * percentage / 100))

    assert pods(slots, percentage) == 1
    assert pods(slots + 1, percentage) == 2
    assert pods(slots + 1, 70) == 1  # Knative's default


@pytest.mark.parametrize("path", SERVED, ids=lambda path: path.parent.name)
def test_refused_clients_are_back_before_the_pod_is_gone(path: Path):
    """Knative removes a pod 60 s after the last request that was not refused at once."""
    assert settings(path).max_retry_after <= 45


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_the_proxy_closes_idle_connections_first(path: Path):
    """queue-proxy after 90 s, Google's load balancers after 600 s."""
    assert settings(path).keep_alive > 600


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_held_requests_are_answered_before_proxies_lose_patience(path: Path):
    """HAProxy cuts a silent connection after 50 s; without a request Cloud Run gives no CPU."""
    assert settings(path).hold <= 45
    assert settings(path).hold == 45 or path != CLOUD_RUN


@pytest.mark.parametrize("path", [KNATIVE, KSERVE, DEPLOYMENT], ids=lambda path: path.parent.name)
def test_pods_may_do_nothing_but_serve(path: Path):
    assert container(path)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
