"""Paths: their aliases, the errors of wrong ones, and the methods of each."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pilotlight.api.framework import operations
from pilotlight.api.http.paths import Paths
from pilotlight.config import Secret
from tests.conftest import CHAT, FakeService, LiveServer, chat, events

SERVED = (
    "/",
    "/livez",
    "/swagger",
    "/swagger/{file:str}",
    "/tokenize",
    "/metrics",
    CHAT,
    "/v1/completions",
    "/v1/embeddings",
    "/v1/rerank",
    "/v2/rerank",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/models",
    "/v1/models/{model:path}",
    "/v1/responses",
)
MESSAGE = {"model": "m", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}


# ── which path is which ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "full"),
    [
        ("/chat/completions", CHAT),
        ("/models", "/v1/models"),
        ("/models/org/name.gguf", "/v1/models/org/name.gguf"),
        ("/messages/count_tokens", "/v1/messages/count_tokens"),
        (CHAT, None),
        ("/livez", None),
        ("/swagger/swagger-ui.css", None),
        ("/chat", None),
        ("/models/", None),
        ("/v1/v1/models", None),
        ("/", None),
        ("/nothing", None),
    ],
)
def test_every_versioned_path_has_an_alias_and_no_other_one(path: str, full: str | None):
    assert Paths(SERVED).aliased(path) == full


def test_a_path_of_its_own_is_no_alias():
    """The chat endpoint may be moved to any path."""
    paths = Paths((*SERVED, "/models"), "/models")
    assert paths.aliased("/models") is None


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/v1/chat/completions", CHAT),
        ("/v1/v1/models/org/name", "/v1/models/org/name"),
        ("/api/v1/chat/completions", CHAT),
        ("/openai/deployments/gpt/chat/completions", CHAT),
        ("/anthropic/v1/messages", "/v1/messages"),
        ("/v1/tokenize", "/tokenize"),
        ("/v1/livez/", "/livez"),
        ("/api/chat", CHAT),
        ("/api/tags/", "/v1/models"),
        ("/completion", "/v1/completions"),
        ("/v1", "/v1/models"),
        ("/V1/Models", "/v1/models"),
        ("/v1/embedding", "/v1/embeddings"),
        ("/chat/completion", CHAT),
        ("/v1//chat//completion", CHAT),
        ("/nothing", None),
        ("/v1/files", None),
        ("/v1/audio/speech", None),
        ("/v1/reranking", "/v1/rerank"),
        ("/", None),
        ("", None),
        ("/" + "v1/" * 30_000 + "models", None),
    ],
)
def test_a_wrong_path_names_the_right_one(path: str, meant: str | None):
    assert Paths(tuple(one for one in SERVED if one != "/")).meant_by(path) == meant


@pytest.mark.parametrize(
    "path", [CHAT, "/api/chat", "/chat/completions", "/v1/v1/chat/completions"]
)
def test_a_moved_chat_endpoint_is_named_where_it_is(path: str):
    elsewhere = tuple(one for one in SERVED if one != CHAT)
    assert Paths((*elsewhere, "/talk"), "/talk").meant_by(path) == "/talk"


@pytest.mark.parametrize("path", [CHAT, "/api/chat", "/chat/completions"])
def test_a_chat_endpoint_that_is_not_served_is_not_named(path: str):
    elsewhere = tuple(one for one in SERVED if one != CHAT)
    assert Paths(elsewhere).meant_by(path) != CHAT


# ── aliases ─────────────────────────────────────────────────────────────────────────────────────


async def test_an_alias_is_answered_as_its_path(service: FakeService):
    """Whole and streamed, and with the errors of its own shape."""
    answer = (await service.post(chat(), path="/chat/completions")).json()
    assert answer["choices"][0]["message"]["content"] == "Hello."
    streamed = await service.post(chat(stream=True), path="/chat/completions")
    assert events(streamed.text)[-1] == "[DONE]"
    assert (await service.post(MESSAGE, path="/messages")).json()["type"] == "message"
    assert (await service.client.get("/models/m")).json()["id"] == "m"
    refused = await service.post({}, path="/messages")
    assert refused.status_code == 400
    assert refused.json()["type"] == "error"
    assert "request-id" in refused.headers
    assert (await service.client.delete("/models/m")).status_code == 405


async def test_every_versioned_operation_has_its_alias(service: FakeService):
    """And the document has none of them."""
    paths = {path for path, _, _ in operations(service.app.litestar)}
    versioned = [path for path in paths if path.startswith("/v1/")]
    assert len(versioned) == 11
    for path in versioned:
        alias = path.removeprefix("/v1").replace("{model}", "m")
        response = await service.client.options(alias)
        assert (response.status_code, alias in paths) == (204, False)


async def test_an_alias_counts_as_its_path(service: FakeService):
    """One series in the metrics, and one caller's limit."""
    for path in (CHAT, "/chat/completions", "/chat/completions/"):
        assert (await service.post(chat(), path=path)).status_code == 200
    text = (await service.client.get("/metrics")).text
    series = [line for line in text.splitlines() if "completions" in line and "_count" in line]
    assert len(series) == 1
    assert series[0].endswith(" 3.0")


async def test_an_alias_has_the_limits_of_its_path(start: Any):
    service = await start(requests_per_minute=1)
    service.write()
    assert (await service.post(chat())).headers["x-ratelimit-remaining-requests"] == "0"
    assert (await service.post(chat(), path="/chat/completions")).status_code == 429


async def test_an_alias_needs_a_key(start: Any):
    service = await start(api_keys=Secret("s3cret"))
    service.write()
    assert (await service.post(chat(), path="/chat/completions")).status_code == 401
    refused = await service.post(MESSAGE, path="/messages")
    assert (refused.status_code, refused.json()["type"]) == (401, "error")
    key = {"authorization": "Bearer s3cret"}
    assert (await service.post(chat(), path="/chat/completions", **key)).status_code == 200


async def test_an_unknown_path_tells_nothing_without_a_key(start: Any):
    """Also where it would name another one."""
    service = await start(api_keys=Secret("s3cret"))
    for path in ("/v1/v1/models", "/api/chat", "/nothing"):
        response = await service.client.get(path)
        assert response.status_code == 401
        assert "did you mean" not in response.text


# ── OPTIONS, HEAD and the root ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        (CHAT, "OPTIONS, POST"),
        ("/v1/models", "GET, HEAD, OPTIONS"),
        ("/v1/models/org/name", "GET, HEAD, OPTIONS"),
        ("/livez", "GET, HEAD, OPTIONS"),
        ("/", "GET, HEAD, OPTIONS"),
    ],
)
async def test_options_lists_the_methods(start: Any, path: str, allow: str):
    """It is no request to a model, so no limit counts it."""
    service = await start(requests_per_minute=1)
    for _ in range(3):
        response = await service.client.options(path)
        assert (response.status_code, response.content) == (204, b"")
        assert response.headers["allow"] == allow
    assert (await service.post(chat("nobody"))).status_code == 404


async def test_the_root_leads_to_swagger_without_the_page(start: Callable[..., Any]):
    service = await start(page=False)
    for method in ("GET", "HEAD"):
        response = await service.client.request(method, "/")
        assert (response.status_code, response.headers["location"]) == (307, "swagger")


@pytest.mark.slow
def test_head_is_get_without_a_body(spark: LiveServer):
    """The same status and headers, `Content-Length` too; over a socket, on a kept connection."""
    paths = ["/livez", "/readyz", "/health", "/v1/models", "/models", "/v1/models/spark"]
    paths += ["/openapi.json", "/openapi.yaml", "/swagger", "/swagger/swagger-ui.css", "/"]
    paths += ["/page/app.js", "/page/vendor/marked.esm.js"]
    paths += ["/nothing", "/v1/models/nobody"]
    changing = {"date", "x-request-id"}
    with httpx.Client(base_url=spark.url) as client:
        for path in paths:
            got, head = client.get(path), client.head(path)
            assert head.content == b""
            assert head.status_code == got.status_code
            told = [
                {k: v for k, v in one.headers.items() if k not in changing} for one in (got, head)
            ]
            assert told[0] == told[1]
            assert int(head.headers["content-length"]) == len(got.content)
        assert client.head("/metrics").status_code == 200
        refused = client.head(CHAT)
        assert (refused.status_code, refused.headers["allow"]) == (405, "OPTIONS, POST")
