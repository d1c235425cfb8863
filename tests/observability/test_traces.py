"""Traces: nothing without a collector, and with one the whole way of a request."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilotlight.config import ConfigError, Settings, load_settings
from pilotlight.observability import traces
from pilotlight.observability.metrics import LoadRecord
from pilotlight.observability.traces import Traces
from tests.api.caller import Call
from tests.collector import Collector, attributes, collecting
from tests.conftest import CHAT, FakeService, chat
from tests.logs import logged

pytestmark = pytest.mark.slow

REASON = "OpenTelemetry is not installed: pilotlight[otel] has it"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


# ── in memory ───────────────────────────────────────────────────────────────────────────────────


class Told:
    """The spans that a service has exported."""

    def __init__(self, service: FakeService) -> None:
        sdk = pytest.importorskip("opentelemetry.sdk.trace.export", reason=REASON)
        memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
        self._exporter = memory.InMemorySpanExporter()
        self._processor = sdk.SimpleSpanProcessor(self._exporter)
        self._traces = service.app.state.service.traces

    async def begin(self) -> "Told":
        """Let the service tell."""
        await self._traces.open(self._processor)
        return self

    @property
    def spans(self) -> list[Any]:
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time)

    def named(self, name: str) -> Any:
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def tree(self) -> set[tuple[str | None, str]]:
        """Return the name of each span with its parent's, None where that is not ours."""
        names = {span.context.span_id: span.name for span in self.spans}
        return {
            (names.get(span.parent.span_id) if span.parent else None, span.name)
            for span in self.spans
        }


@pytest.fixture
async def told(service) -> Told:
    return await Told(service).begin()


SERVER = f"POST {CHAT}"


async def test_a_cold_request_and_its_load(service, told):
    """Request, load and answer hang together, and lie in time where they passed."""
    await service.ask(model="m")
    assert told.tree() == {
        (None, SERVER),
        (SERVER, "load m"),
        ("load m", "read"),
        ("load m", "warm"),
        (SERVER, "chat m"),
        ("chat m", "hold"),
        ("chat m", "queue"),
        ("chat m", "prefill"),
        ("chat m", "decode"),
    }
    whole = told.named(SERVER)
    slack = 50_000_000  # the wall clock and the monotonic one are read one after the other
    for span in told.spans:
        assert whole.start_time - slack <= span.start_time <= span.end_time
        assert span.end_time <= whole.end_time + slack
    ends = [told.named(name).end_time for name in ("hold", "queue", "prefill", "decode")]
    assert ends == sorted(ends)
    assert told.named("queue").end_time == told.named("prefill").start_time
    assert told.named("prefill").end_time == told.named("decode").start_time
    assert len({span.context.trace_id for span in told.spans}) == 1


async def test_a_request_belongs_to_its_callers_trace(service, told):
    """W3C's header in, and the server's span below the one that it names."""
    response = await service.post(chat("m"), **TRACEPARENT, **{"x-request-id": "one"})
    assert response.status_code == 200
    span = told.named(SERVER)
    assert format(span.context.trace_id, "032x") == TRACE
    assert format(span.parent.span_id, "016x") == PARENT
    assert span.kind.name == "SERVER"
    assert dict(span.attributes) == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "url.path": CHAT,
        "http.route": CHAT,
        "http.response.status_code": 200,
        "pilotlight.request_id": "one",
    }
    assert span.status.status_code.name == "UNSET"


async def test_what_the_model_did_has_the_conventions_attributes(service, told):
    """Tokens, model and finish reason, in OpenTelemetry's words for generative AI."""
    answer = await service.ask(model="M")
    span = told.named("chat m")
    assert dict(span.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "pilotlight",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m",
        "gen_ai.usage.input_tokens": answer["usage"]["prompt_tokens"],
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.output_tokens": answer["usage"]["completion_tokens"],
        "gen_ai.response.finish_reasons": ("stop",),
    }
    assert span.kind.name == "INTERNAL"


async def test_a_caller_that_samples_nothing_is_obeyed(service, told):
    """The flag of the caller's trace decides for all that is below it."""
    await service.post(chat("m"), traceparent=f"00-{TRACE}-{PARENT}-00")
    assert told.spans == []


@pytest.mark.parametrize("header", ["", "broken", f"00-{'0' * 32}-{PARENT}-01"])
async def test_a_broken_header_begins_a_trace(service, told, header):
    """Who cannot be understood is answered, and traced for itself."""
    assert (await service.post(chat("m"), traceparent=header)).status_code == 200
    assert told.named(SERVER).parent is None


async def test_a_client_that_hangs_up(service, told):
    """The span records that, and the phase that it interrupted ends there."""
    service.backend.token_gate.hold()
    call = Call(service.app, chat("m", stream=True))
    await call.next()
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    await call.hang_up()
    assert told.named(SERVER).attributes["pilotlight.client_gone"] is True
    assert told.named("prefill").end_time == told.named("chat m").end_time
    assert "decode" not in {span.name for span in told.spans}
    assert told.named("chat m").status.status_code.name == "UNSET"


async def test_failures_are_errors_and_refusals_are_not(start):
    """The server's own faults stand out; what a client asked wrongly does not."""
    service = await start()
    told = await Told(service).begin()
    service.write("m", reply="Hello.", fail_after=2)
    await service.post(chat("m", stream=True))
    broken = told.named(SERVER)
    assert broken.status.status_code.name == "ERROR"
    assert broken.attributes["error.type"] == "inference_error"
    assert told.named("chat m").attributes["error.type"] == "inference_error"
    await service.client.get("/nowhere")
    nowhere = told.named("GET")
    assert nowhere.status.status_code.name == "UNSET"
    assert "http.route" not in nowhere.attributes


async def test_a_load_that_fails(start):
    """It has a span too, with its code."""
    service = await start()
    told = await Told(service).begin()
    service.write("m", load_error="invalid")
    await service.post(chat("m"))
    span = told.named("load m")
    assert span.attributes["error.type"] == "model_load_failed"
    assert span.status.status_code.name == "ERROR"


async def test_embeddings(start):
    """They have their own operation, and no decode."""
    service = await start()
    told = await Told(service).begin()
    service.write("e", embedding_length=4)
    await service.post({"model": "e", "input": ["a", "b"]}, "/v1/embeddings")
    span = told.named("embeddings e")
    assert span.attributes["gen_ai.operation.name"] == "embeddings"
    assert "decode" not in {one.name for one in told.spans}


# ── over HTTP ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def collector() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason=REASON)
    with collecting() as running:
        yield running


async def test_a_collector_is_told(start, collector, monkeypatch):
    """Spans leave as OTLP over HTTP, the last ones at the shutdown, with the service's name."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=a")
    service = await start(otlp_endpoint=collector.url)
    service.write()
    await service.post(chat("m"), **TRACEPARENT)
    await service.app.state.service.traces.close()
    assert {path for path, _ in collector.requests} == {"/v1/traces"}
    assert collector.requests[0][1]["x-team"] == "a"
    names = {span.name for span in collector.spans}
    assert {SERVER, "load m", "chat m", "queue", "prefill", "decode"} <= names
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    (server,) = [span for span in collector.spans if span.name == SERVER]
    assert attributes(server)["http.route"] == CHAT
    assert collector.resources[0]["service.name"] == "pilotlight"
    assert "service.version" in collector.resources[0]


async def test_a_load_before_opentelemetry_is_there_is_told(collector):
    """Models load while it is imported; none is missed."""
    early = Traces(collector.url)
    early.load(LoadRecord(model="m", backend="b", outcome="ready", phases={}, seconds=0.5))
    await early.open()
    await early.close()
    (span,) = collector.spans
    assert (span.name, span.parent_span_id) == ("load m", b"")
    assert span.end_time_unix_nano - span.start_time_unix_nano == 500_000_000


async def test_the_environment_names_the_service(collector, monkeypatch):
    """`OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` hold as everywhere."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    told = Traces(collector.url + "/")
    await told.open()
    told.load(LoadRecord(model="m", backend="b", outcome="ready", phases={}))
    await told.close()
    assert collector.resources[0]["service.name"] == "mine"
    assert collector.resources[0]["deployment.environment.name"] == "test"
    assert collector.requests[0][0] == "/v1/traces"


async def test_it_can_be_turned_off_as_everywhere(start, collector, monkeypatch):
    """`OTEL_SDK_DISABLED` wins over an endpoint, and the log keeps the caller's trace."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    service = await start(otlp_endpoint=collector.url)
    service.write()
    with logged() as lines:
        assert (await service.post(chat("m"), **TRACEPARENT)).status_code == 200
    await service.app.state.service.traces.close()
    assert collector.spans == []
    assert (lines.access[0]["trace_id"], lines.access[0]["span_id"]) == (TRACE, PARENT)


async def test_the_log_has_the_requests_own_span(service, told):
    """From a log line to the span that it belongs to, within the caller's trace."""
    with logged() as lines:
        await service.post(chat("m"), **TRACEPARENT)
    span = told.named(SERVER)
    assert lines.access[0]["trace_id"] == TRACE
    assert lines.access[0]["span_id"] == format(span.context.span_id, "016x")


async def test_a_collector_that_does_not_answer_holds_nobody_up(monkeypatch):
    """The process ends after a moment, while the last export still waits for the collector."""
    monkeypatch.setattr("pilotlight.observability.traces._EXPORT_GRACE", 0.1)
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason=REASON)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        told = Traces(f"http://127.0.0.1:{silent.getsockname()[1]}")
        await told.open()
        told.load(LoadRecord(model="m", backend="b", outcome="ready", phases={}))
        await told.close()
        assert "last spans" in {thread.name for thread in threading.enumerate()}


# ── off ─────────────────────────────────────────────────────────────────────────────────────────

OFF = """
import asyncio, sys
from pathlib import Path
import httpx
from pilotlight.server.app import create_app
from pilotlight.config import Settings
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
import pilotlight.server.process

async def main(folder):
    FakeModel(reply="Hello.").write(folder / "m.fake")
    settings = Settings(models_dir=folder, models_file=folder / "none.yaml")
    app = create_app(settings, backends={"fake": FakeBackend()})
    transport = httpx.ASGITransport(app)
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://x") as one:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        answer = await one.post("/v1/chat/completions", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        assert (await one.get("/metrics")).status_code == 200

asyncio.run(main(Path(sys.argv[1])))
print(*sorted(name for name in sys.modules if name.startswith(("opentelemetry", "google"))))
"""

LITESTARS = {
    "opentelemetry",
    "opentelemetry.semconv",
    "opentelemetry.semconv.attributes",
    "opentelemetry.semconv.attributes.http_attributes",
}
"""What Litestar looks for wherever it is made: names, without API, SDK or exporter."""


def test_without_a_collector_nothing_of_it_is_imported(tmp_path: Path):
    """A service without traces imports no library for them, installed or not."""
    done = subprocess.run(
        [sys.executable, "-c", OFF, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "PILOTLIGHT_"))},
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= LITESTARS


async def test_without_a_collector_nothing_is_kept():
    """Loads are not noted for a collector that never comes, and there is nothing to end."""
    told = Traces(None)
    await told.open()
    told.load(LoadRecord(model="m", backend="b", outcome="ready", phases={}))
    assert (told._early, told._otel) == ([], None)
    await told.close()


def test_a_collector_without_opentelemetry_is_refused(monkeypatch):
    """The setting is named, and what would have it."""
    monkeypatch.setattr(traces, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"--otlp-endpoint http://x:4318: .*pilotlight\[otel\]"):
        Traces("http://x:4318")


@pytest.mark.parametrize(
    ("flags", "environ", "endpoint"),
    [
        ({}, {}, None),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318"}, "http://a:4318"),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        (
            {},
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318",
                "PILOTLIGHT_OTLP_ENDPOINT": "https://b/otlp/",
            },
            "https://b/otlp/",
        ),
        ({"otlp_endpoint": "http://c"}, {"PILOTLIGHT_OTLP_ENDPOINT": "http://b"}, "http://c"),
    ],
)
def test_where_the_collector_is_named(flags, environ, endpoint):
    """A flag wins over Pilotlight's variable, and that over OpenTelemetry's."""
    assert load_settings(flags, environ).otlp_endpoint == endpoint
    assert Settings().otlp_endpoint is None


@pytest.mark.parametrize("address", ["a:4318", "grpc://a:4317", "http://", "http://a b", "yes"])
def test_an_address_that_is_none_is_refused(address):
    """The variable at fault is named."""
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        load_settings({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": address})
