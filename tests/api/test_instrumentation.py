"""Every request has an id and one line in the log, whatever becomes of it."""

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pilotlight.api.http.instrumentation import Instrumentation
from pilotlight.config import Secret, Settings
from pilotlight.observability.metrics import Metrics
from pilotlight.observability.traces import Traces
from pilotlight.server.app import create_app
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
from tests.api.caller import Call
from tests.conftest import CHAT, FakeService, LiveServer, chat, events
from tests.logs import Lines, logged

MESSAGES = "/v1/messages"
MESSAGE = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def lines() -> Iterator[Lines]:
    with logged() as kept:
        yield kept


async def scraped(service: FakeService) -> dict[tuple[str, ...], float]:
    """Return the samples of a scrape by name and labels' values, in the order of their names."""
    text = (await service.client.get("/metrics")).text
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# ── ids ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("call", "body", "status"),
    [
        (("POST", CHAT), chat("m"), 200),
        (("POST", CHAT), chat("m", stream=True), 200),
        (("POST", CHAT), chat("nobody"), 404),
        (("POST", CHAT), {}, 400),
        (("GET", CHAT), None, 405),
        (("GET", "/nowhere"), None, 404),
        (("GET", "/v1/models"), None, 200),
        (("GET", "/livez"), None, 200),
        (("GET", "/metrics"), None, 200),
        (("GET", "/swagger"), None, 200),
        (("POST", MESSAGES), MESSAGE, 200),
        (("POST", MESSAGES), MESSAGE | {"stream": True}, 200),
        (("POST", MESSAGES), {}, 400),
        (("GET", "/v1/messages/nowhere"), None, 404),
    ],
)
async def test_every_answer_has_the_clients_id(service, lines, call, body, status):
    """Answers, streams, errors, and what no handler ever saw."""
    method, path = call
    response = await service.client.request(
        method, path, json=body, headers={"x-request-id": "mine.1"}
    )
    assert response.status_code == status
    assert response.headers.get_list("x-request-id") == ["mine.1"]
    anthropics = ["mine.1"] if path.startswith(MESSAGES) else []
    assert response.headers.get_list("request-id") == anthropics
    (line,) = lines.access
    assert line["request_id"] == "mine.1"


async def test_an_unfit_id_is_not_echoed(service, lines):
    """A header that could forge a log line gets a new id, and so does a request without one."""
    ids = [
        (await service.post(chat("m"), **headers)).headers["x-request-id"]
        for headers in ({"x-request-id": "a b"}, {"x-request-id": "x" * 200}, {})
    ]
    assert len(set(ids)) == 3
    assert all(one.startswith("req_") for one in ids)
    assert [line["request_id"] for line in lines.access] == ids


async def test_every_line_of_a_request_has_its_id(start, lines):
    """Also those that layers write which know of no request: its model's load, a failure."""
    service = await start()
    service.write(load_error="invalid")
    await service.post(chat("m"), **{"x-request-id": "one"})
    told = list(map(msgspec.json.decode, lines.texts))
    loggers = {"pilotlight.models.loading.runner", "pilotlight.access"}
    assert {line["logger"] for line in told} == loggers
    assert {line["request_id"] for line in told} == {"one"}


async def test_what_outlives_a_request_is_not_its_line(start, lines):
    """A load that a request began and did not wait for ends on its own account."""
    service = await start(hold=0)
    service.write()
    service.backend.load_gate.hold()
    assert (await service.post(chat("m"))).status_code == 503
    service.backend.load_gate.release()
    async with asyncio.timeout(10):
        while (await service.client.get("/readyz?model=m")).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    began, loaded = lines.of("pilotlight.models.loading.runner")
    assert "request_id" in began
    assert "request_id" not in loaded


async def test_anthropics_errors_tell_the_id(service):
    """In the body, as Anthropic's do, of a stream that breaks too."""
    refused = await service.post({}, MESSAGES)
    assert refused.json()["request_id"] == refused.headers["request-id"]
    service.write("breaks", reply="Hello.", fail_after=2)
    broken = await service.post(MESSAGE | {"model": "breaks", "stream": True}, MESSAGES)
    assert events(broken.text)[-1]["request_id"] == broken.headers["request-id"]


# ── the line ────────────────────────────────────────────────────────────────────────────────────


async def test_the_line_of_an_answer(service, lines):
    """What was asked of whom, how long everything took, and what it came to."""
    for streamed in (False, True):
        await service.post(chat("M", stream=streamed), CHAT + "?key=secret")
    cold, warm = lines.access
    assert cold.keys() - warm.keys() == {"hold"}
    assert {name: warm[name] for name in warm.keys() - cold.keys()} == {}
    assert warm["message"] == "POST /v1/chat/completions 200"
    assert (warm["method"], warm["path"], warm["status"]) == ("POST", CHAT, 200)
    assert (warm["model"], warm["finish_reason"]) == ("m", "stop")
    usage = [warm[f"{kind}_tokens"] for kind in ("prompt", "cached", "completion")]
    asked = await service.ask(model="m")
    assert usage == [
        asked["usage"]["prompt_tokens"],
        asked["usage"]["prompt_tokens_details"]["cached_tokens"],
        asked["usage"]["completion_tokens"],
    ]
    assert 0 <= warm["queue"] <= warm["time_to_first_token"] <= warm["duration"]
    assert 0 < cold["hold"] <= cold["time_to_first_token"]
    assert not {"error_code", "client_gone", "caller"} & warm.keys()


async def test_the_line_of_embeddings(start, lines):
    """How many texts, and their tokens."""
    service = await start()
    service.write("e", embedding_length=4)
    await service.post({"model": "e", "input": ["a", "b"]}, "/v1/embeddings")
    (line,) = lines.access
    assert (line["model"], line["inputs"], line["path"]) == ("e", 2, "/v1/embeddings")
    assert line["prompt_tokens"] > 0
    told = await scraped(service)
    assert told["pilotlight_embedding_inputs_total", "e"] == 2


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (CHAT, chat("nobody"), (404, "model_not_found")),
        (CHAT, b"{", (400, "invalid_request_error")),
        ("/nowhere", {}, (404, "not_found")),
        ("/v1/models", {}, (405, "method_not_allowed")),
    ],
)
async def test_the_line_of_a_refusal(service, lines, path, body, told):
    """The line has the error's code, which is counted by endpoint."""
    status, code = told
    await service.post(body, path)
    (line,) = lines.access
    assert (line["status"], line["error_code"], line["path"]) == (status, code, path)
    route = CHAT if path == CHAT else "_OTHER"
    told = await scraped(service)
    assert told["pilotlight_errors_total", code, route] == 1
    assert told["pilotlight_http_request_duration_seconds_count", "POST", route, str(status)] == 1


async def test_the_line_of_a_stream_that_breaks(start, lines):
    """Its status was sent before: the error's code says what became of it."""
    service = await start()
    service.write(reply="Hello.", fail_after=2)
    await service.post(chat("m", stream=True))
    (line,) = lines.access
    assert (line["status"], line["error_code"]) == (200, "inference_error")
    assert (await scraped(service))["pilotlight_errors_total", "inference_error", CHAT] == 1


async def test_what_is_below_a_template_is_not_told(service, lines):
    """A path's parameters are the client's words; the log has the route."""
    await service.client.get("/v1/models/whatever/it-is")
    (line,) = lines.access
    assert (line["path"], line["status"]) == ("/v1/models/{model}", 404)


async def test_a_path_that_is_not_served_breaks_no_line(service, lines):
    """It is logged escaped and cut, without its query."""
    await service.client.get("/a%0Ab%1B%20" + "x" * 500 + "?key=secret")
    (line,) = lines.access
    assert line["path"].startswith("/a%0Ab%1B%20xxx")
    assert len(line["path"]) < 220
    assert "secret" not in "".join(lines.texts)


async def test_probes_are_told_at_debug_alone(service):
    """Platforms ask every few seconds."""
    with logged(logging.INFO) as told:
        for path in ("/livez", "/readyz", "/health", "/metrics"):
            await service.client.get(path)
    assert told.access == []
    with logged(logging.DEBUG) as told:
        await service.client.get("/livez")
    assert [line["severity"] for line in told.access] == ["DEBUG"]


async def test_invented_methods_are_one(service):
    """Clients can invent methods and paths, and each would be a metric of its own."""
    for method, path in (("BREW", "/x"), ("SPAM", "/y"), ("get", "/z")):
        await service.client.request(method, path)
    told = await scraped(service)
    counts = {key[1:]: n for key, n in told.items() if key[0].endswith("duration_seconds_count")}
    assert counts["_OTHER", "_OTHER", "404"] + counts.get(("_OTHER", "_OTHER", "405"), 0) >= 2
    assert {key[0] for key in counts} <= {"_OTHER", "GET"}


async def test_an_invented_model_is_no_label(service):
    """A metric's labels are what the server knows."""
    await service.post(chat("invented-by-a-client"))
    text = (await service.client.get("/metrics")).text
    assert "invented-by-a-client" not in text
    assert 'pilotlight_requests_total{model="",outcome="model_not_found"} 1.0' in text


# ── clients that hang up ────────────────────────────────────────────────────────────────────────


async def hung_up(service: FakeService, *, stream: bool) -> None:
    """Leave a request that has a slot and waits for its first token."""
    service.backend.token_gate.hold()
    call = Call(service.app, chat("m", stream=stream))
    if stream:
        await call.next()
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    await call.hang_up()


async def test_a_client_that_hangs_up_in_a_stream(service, lines):
    """The line records that; the status is the one that was sent."""
    await hung_up(service, stream=True)
    (line,) = lines.access
    assert (line["status"], line["client_gone"]) == (200, True)
    assert line["message"] == "POST /v1/chat/completions 200, the client disconnected"
    assert "error_code" not in line
    assert "finish_reason" not in line


async def test_a_client_that_hangs_up_before_any_answer(service, lines):
    """Nothing was sent: the status is nginx's for it, and no error of the server's."""
    await hung_up(service, stream=False)
    (line,) = lines.access
    assert (line["status"], line["client_gone"]) == (499, True)
    assert "error_code" not in line
    told = await scraped(service)
    assert told["pilotlight_requests_total", "m", "cancelled"] == 1
    assert told["pilotlight_http_request_duration_seconds_count", "POST", CHAT, "499"] == 1
    assert not [key for key in told if key[0] == "pilotlight_errors_total"]


@pytest.fixture
def server(tmp_path, serve) -> LiveServer:
    """Serve one model, `m`, on a port."""
    FakeModel(reply="Hello.").write(tmp_path / "m.fake")
    nowhere = tmp_path / "models.yaml"
    settings = Settings(models_dir=tmp_path, models_file=nowhere)
    return serve(create_app(settings, backends={"fake": FakeBackend()}))


def test_a_client_that_stays_has_not_hung_up(server, lines):
    """Servers say `http.disconnect` after each whole answer as well."""
    for streamed in (False, True):
        answer = httpx.post(server.url + CHAT, json=chat("m", stream=streamed), timeout=30)
        assert answer.status_code == 200
    until(lines, 2)
    assert [line["status"] for line in lines.access] == [200, 200]
    assert not any("client_gone" in line for line in lines.access)


def test_a_client_that_leaves_with_half_a_body(server, lines):
    """It is no failure of the server's, and leaves no traceback."""
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection(server.listener.getsockname()) as client:
        client.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        # The server has the request once it answers another that came later.
        httpx.get(server.url + "/livez", timeout=30)
    until(lines, 2)
    assert [line["status"] for line in lines.access] == [200, 499]
    loggers = {line["logger"] for line in map(msgspec.json.decode, lines.texts)}
    assert loggers == {"pilotlight.access"}


def until(lines: Lines, count: int) -> None:
    """Wait for *count* lines: a client has its answer before the line of it is written."""
    deadline = time.monotonic() + 10
    while len(lines.access) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)


# ── what is around ──────────────────────────────────────────────────────────────────────────────


async def test_a_failure_that_nobody_caught(lines):
    """An application that raises, or is cancelled, is recorded as a 500 too."""

    async def fails(*_: Any) -> None:
        raise RuntimeError("boom")

    watched = Instrumentation(fails, Metrics(dict), Traces(None))
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": []}
    with pytest.raises(RuntimeError, match="boom"):
        await watched(scope, None, None)
    (line,) = lines.access
    assert line["status"] == 500


async def test_what_is_no_request_passes(lines):
    """A WebSocket, which nothing serves, is none of its business."""
    seen = []

    async def app(scope: Any, *_: Any) -> None:
        seen.append(scope["type"])

    await Instrumentation(app, Metrics(dict), Traces(None))({"type": "websocket"}, None, None)
    assert seen == ["websocket"]
    assert lines.access == []


# ── who asks ────────────────────────────────────────────────────────────────────────────────────


async def test_a_caller_is_told_by_name(start, lines):
    """The name of the key is in the line, and the key is nowhere."""
    service = await start(api_keys=Secret("team-a:s3cret"))
    service.write()
    await service.post(chat("m"), authorization="Bearer s3cret")
    await service.client.get("/livez")
    told, public = lines.access
    assert told["caller"] == "team-a"
    assert "caller" not in public
    assert "s3cret" not in "".join(lines.texts)


async def test_who_is_not_let_in_is_told_too(start, lines):
    """A refusal at the door has its id, its line and its place among the errors."""
    service = await start(api_keys=Secret("team-a:s3cret"))
    refused = await service.post(chat("m"), **{"x-request-id": "one", "x-api-key": "wrong"})
    assert (refused.status_code, refused.headers["x-request-id"]) == (401, "one")
    (line,) = lines.access
    assert (line["status"], line["error_code"]) == (401, "invalid_api_key")
    assert "caller" not in line
    assert "wrong" not in "".join(lines.texts)
    scrape = await service.client.get("/metrics", headers={"x-api-key": "s3cret"})
    assert 'pilotlight_errors_total{code="invalid_api_key",route="_OTHER"} 1.0' in scrape.text


async def test_without_keys_nobody_is_named(service, lines):
    """An open server records no caller."""
    await service.post(chat("m"))
    assert "caller" not in lines.access[0]
