"""The guard before the routes: what is public, which callers are admitted, and their errors."""

import asyncio
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Request, get

from pilotlight.access import ANONYMOUS, Caller
from pilotlight.access.keys import read_file
from pilotlight.api.application import Application
from pilotlight.api.framework import operations
from pilotlight.api.http.auth import caller_of
from pilotlight.config import Secret, Settings
from pilotlight.server.app import create_app
from tests.conftest import CHAT, FakeService, chat

pytestmark = pytest.mark.slow

KEY = {"authorization": "Bearer s3cret"}
PUBLIC = [
    "/",
    "/livez",
    "/readyz",
    "/health",
    "/openapi.json",
    "/openapi.yaml",
    "/swagger",
    "/swagger/swagger-ui-bundle.js",
    "/swagger/swagger-ui.css",
]


@pytest.fixture
async def closed(start: Callable[..., Any]) -> FakeService:
    """Return a service with the key `s3cret`, of ann, and one model, `m`."""
    service = await start(api_keys=Secret("ann:s3cret"))
    service.write(reply="Hello.")
    return service


def from_peer(app: Application, peer: str) -> httpx.AsyncClient:
    """Return a client that calls *app* from the address *peer*."""
    transport = httpx.ASGITransport(app, client=(peer, 123))
    return httpx.AsyncClient(transport=transport, base_url="http://pilotlight")


# ── what is public ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", [*PUBLIC, "/page/app.js", "/livez/", "/readyz?model=m"])
@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}])
async def test_probes_and_the_document_need_no_key(closed: FakeService, path, headers):
    """Platforms have none; a wrong one does no harm there."""
    response = await closed.client.get(path, headers=headers)
    assert response.status_code in {200, 503}
    assert "www-authenticate" not in response.headers


async def test_a_public_path_knows_its_methods(closed: FakeService):
    """Errors of a public path need no key."""
    response = await closed.client.post("/livez")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_everything_else_is_closed(closed: FakeService):
    """Every operation that is served is either public, by the list above, or needs a key."""
    asked = 0
    for template, method, operation in operations(closed.app.litestar):
        for value in ("swagger-ui.css", "m"):
            path = template.replace("{file}", value).replace("{model}", value)
            response = await closed.client.request(method, path)
            assert (response.status_code == 401) == (path not in PUBLIC), path
            assert operation.public or response.status_code == 401
            asked += response.status_code == 401
    assert asked > 10


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("GET", "/models"),
        ("OPTIONS", "/chat/completions"),
        ("GET", "/metrics"),
        ("GET", "/metrics/"),
        ("DELETE", "/v1/models"),
        ("OPTIONS", CHAT),
        ("HEAD", "/v1/models"),
        ("BREW", "/nothing"),
        ("GET", "/swagger/LICENSE"),
        ("GET", "/page/index.html"),
        ("GET", "/page/vendor/LICENSE-marked"),
        ("GET", "/page/../docs.py"),
        ("GET", "/livez/../metrics"),
        ("GET", "/livez%2f..%2fmetrics"),
        ("GET", "/LIVEZ"),
        ("GET", "/livez;x"),
        ("GET", "/livez%00"),
    ],
)
async def test_nothing_is_told_of_what_is_there(closed: FakeService, method, path):
    """Unknown paths and methods are answered as known ones are."""
    response = await closed.client.request(method, path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert "allow" not in response.headers


@pytest.mark.parametrize(
    "path", ["/livez", "/swagger/swagger-ui.css", "/swagger/x", "/page/app.js"]
)
async def test_a_chat_endpoint_is_never_public(start: Callable[..., Any], path: str):
    """Also where it was moved to a public path, which is closed by that."""
    service = await start(api_keys=Secret("s3cret"), chat_completions_path=path)
    service.write(reply="Hello.")
    assert (await service.post(chat(), path=path)).status_code == 401
    assert (await service.post(chat(), path=path, **KEY)).status_code == 200


def test_the_documentation_says_what_is_public_and_how_keys_are_written():
    """docs/security.md has each public path, and a file that is read."""
    text = (Path(__file__).parents[2] / "docs/security.md").read_text()
    section = text.partition("## Public paths\n\n")[2].partition(" need no key")[0]
    files = [path for path in PUBLIC if path.startswith("/swagger/")]
    assert len(files) == 2  # which it calls so
    assert set(re.findall("`([^`]+)`", section)) == {*PUBLIC, "/page/…"} - set(files)
    keys = read_file(text.partition("```text\n")[2].partition("```")[0])
    assert [key.name for key in keys] == ["ann", "ci"]


# ── who is let in ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "headers",
    [KEY, {"x-api-key": "s3cret"}, {"authorization": "bearer s3cret", "x-api-key": "s3cret"}],
)
async def test_a_right_key_is_let_in(closed: FakeService, headers):
    """In either header; everything is as it is without keys then."""
    answer = await closed.post(chat(), **headers)
    assert answer.json()["choices"][0]["message"]["content"] == "Hello."
    assert (await closed.client.get("/metrics", headers=headers)).status_code == 200
    assert (await closed.client.get("/nothing", headers=headers)).status_code == 404
    assert (await closed.client.delete("/v1/models", headers=headers)).status_code == 405


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic czNjcmV0"},
        {"x-api-key": "ann"},
        {"authorization": "Bearer s3cret", "x-api-key": "wrong"},
        {"x-forwarded-user": "ann"},
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/tokenize", "/v1/messages"])
async def test_nobody_else_is(closed: FakeService, path, headers):
    """No model is looked for, and nothing loaded."""
    response = await closed.post(chat(), path=path, **headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["content-type"] == "application/json"
    assert closed.backend.engines == []


async def test_without_keys_everybody_is(service: FakeService):
    """Whatever they send."""
    assert (await service.post(chat(), **{"x-api-key": "a", **KEY})).status_code == 200


async def test_keys_change_while_the_server_runs(tmp_path: Path):
    """The next request that looks at the file knows the new key, and the old one no more."""
    path = tmp_path / "keys"
    path.write_text("ann:s3cret")
    now = [0.0]
    app = create_app(
        Settings(api_keys_file=path, models_file=tmp_path / "none.yaml"), clock=lambda: now[0]
    )
    async with from_peer(app, "127.0.0.1") as client:

        async def status(key: str) -> int:
            response = await client.get("/v1/models", headers={"x-api-key": key})
            return response.status_code

        assert (await status("s3cret"), await status("fresh")) == (200, 401)
        (tmp_path / "fresh").write_text("bob:fresh")
        (tmp_path / "fresh").replace(path)
        now[0] = 1.0
        assert (await status("s3cret"), await status("fresh")) == (401, 200)


async def test_a_proxys_user_is_let_in(start: Callable[..., Any]):
    """From its address, and from no other that says the same."""
    service = await start(trusted_proxies=("10.0.0.0/8",))
    headers = {"x-forwarded-user": "ann", "x-forwarded-for": "10.0.0.1"}
    async with from_peer(service.app, "10.0.0.1") as client:
        assert (await client.get("/v1/models", headers=headers)).status_code == 200
        assert (await client.get("/v1/models")).status_code == 401
    async with from_peer(service.app, "192.0.2.1") as client:
        assert (await client.get("/v1/models", headers=headers)).status_code == 401


# ── what the others are told ────────────────────────────────────────────────────────────────────


async def test_the_error_is_openais(closed: FakeService):
    """With its code, and without the key."""
    response = await closed.post(chat(), authorization="Bearer wr0ng")
    assert response.json() == {
        "error": {
            "message": "the API key is unknown",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_api_key",
        }
    }


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/messages/x"])
async def test_the_error_is_anthropics_on_their_paths(closed: FakeService, path):
    """Whether there is something or not."""
    response = await closed.post(chat(), path=path, **{"x-api-key": "wr0ng"})
    assert response.status_code == 401
    assert response.json() == {
        "type": "error",
        "error": {
            "type": "authentication_error",
            "message": "the API key is unknown",
            "param": None,
            "code": "invalid_api_key",
        },
        "request_id": response.headers["request-id"],
    }


async def test_a_traceback_has_no_key(closed: FakeService, caplog: pytest.LogCaptureFixture):
    """An unforeseen error is logged with its traceback, and without the request's headers."""

    @get("/v1/trouble")
    async def trouble(request: Request[Any, Any, Any]) -> str:
        raise RuntimeError(f"asked by {caller_of(request.scope).name}")

    closed.app.litestar.register(trouble)
    caplog.set_level(logging.DEBUG)
    response = await closed.client.get("/v1/trouble", headers=KEY)
    assert response.status_code == 500
    assert "RuntimeError: asked by ann" in caplog.text
    assert "s3cret" not in caplog.text + response.text + str(response.headers)


# ── before anything else ────────────────────────────────────────────────────────────────────────


def scope_of(path: str, kind: str = "http", **headers: str) -> dict[str, Any]:
    return {
        "type": kind,
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("127.0.0.1", 80),
    }


async def sent_by(app: Application, scope: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what *app* sends to a client whose body never comes."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        pytest.fail("the body was asked for")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async with asyncio.timeout(10):
        await app(scope, receive, send)
    return sent


async def test_the_body_is_not_read(closed: FakeService):
    """However large it says that it is; and a client without an address is one as any."""
    start, body = await sent_by(closed.app, scope_of(CHAT, **{"content-length": "999999999999"}))
    assert start["status"] == 401
    assert b"invalid_api_key" in body["body"]


async def test_a_websocket_is_closed(closed: FakeService):
    """There are none, and the reason does not reveal that."""
    (told,) = await sent_by(closed.app, scope_of("/v1/realtime", "websocket"))
    assert (told["type"], told["code"]) == ("websocket.close", 1008)
    assert "key" in told["reason"]


# ── who it was ──────────────────────────────────────────────────────────────────────────────────


async def test_a_handler_knows_its_caller(start: Callable[..., Any]):
    """By a key or by the proxy; the caller of an open server is anonymous."""
    seen: list[Caller] = []

    @get("/v1/whoami")
    async def whoami(request: Request[Any, Any, Any]) -> str:
        seen.append(caller_of(request.scope))
        return ""

    closed = await start(api_keys=Secret("ann:s3cret"), trusted_proxies=("10.0.0.1",))
    open_door = await start()
    for service in (closed, open_door):
        service.app.litestar.register(whoami)
    async with from_peer(closed.app, "10.0.0.1") as client:
        await client.get("/v1/whoami", headers=KEY)
        await client.get(
            "/v1/whoami", headers={"x-forwarded-user": "bob", "x-forwarded-groups": "a, b"}
        )
    await open_door.client.get("/v1/whoami", headers=KEY)

    assert seen == [Caller("ann", "key"), Caller("bob", "proxy", ("a", "b")), ANONYMOUS]


def test_before_the_guard_nobody_is_known():
    """Before the guard, and for a refused request, the caller is anonymous."""
    assert caller_of(scope_of("/")) == ANONYMOUS
    assert caller_of({**scope_of("/"), "state": {}}) == ANONYMOUS


async def test_wrong_keys_one_after_another_are_told_to_wait(start: Callable[..., Any]):
    """With the headers of every 429; the right key is served in between."""
    service = await start(api_keys=Secret("ann:s3cret"), failed_keys_per_minute=1)
    wrong = {"x-api-key": "wrong"}
    assert (await service.client.get("/v1/models", headers=wrong)).status_code == 401
    refused = await service.client.get("/v1/models", headers=wrong)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert (await service.client.get("/v1/models", headers=KEY)).status_code == 200
