"""Pages of other origins: preflights, and the headers that let a script read an answer."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pilotlight.api.http.cors import EXPOSED
from pilotlight.config import ConfigError, Secret, load_settings
from tests.api.caller import Call
from tests.conftest import CHAT, FakeService, chat

PAGE = "http://localhost:3000"
ORIGIN = {"origin": PAGE}
ASKS = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-lang",
}
CROSS = "access-control-allow-origin"


@pytest.fixture
async def open_to_page(start: Any) -> FakeService:
    """Return a service with the key `s3cret` that lets the page in, and another one."""
    service = await start(
        api_keys=Secret("s3cret"),
        cors_origins=(PAGE, "https://App.example:443"),
        requests_per_minute=1,
    )
    service.write(reply="Hello.")
    return service


KEY = {"authorization": "Bearer s3cret"}


# ── preflights ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", [CHAT, "/chat/completions", "/v1/models", "/livez", "/nothing"])
async def test_a_preflight_needs_no_key_and_tells_no_paths(open_to_page: FakeService, path: str):
    """Whatever is at the path, the answer is the same, and it counts against nothing."""
    for _ in range(3):
        response = await open_to_page.client.options(path, headers=ORIGIN | ASKS)
        headers = response.headers
        assert (response.status_code, response.content) == (204, b"")
        assert headers[CROSS] == PAGE
        assert headers["access-control-allow-methods"] == "GET, HEAD, POST, DELETE, OPTIONS"
        assert headers["access-control-allow-headers"] == ASKS["access-control-request-headers"]
        assert headers["access-control-max-age"] == "7200"
        assert "Origin" in headers["vary"].split(", ")
        assert "allow" not in headers
        assert "access-control-allow-credentials" not in headers
    assert (await open_to_page.post(chat(), **KEY)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        ASKS,
        ORIGIN,
        ASKS | {"origin": "http://localhost:3001"},
        ASKS | {"origin": "https://localhost:3000"},
        ASKS | {"origin": "http://localhost:3000.evil.example"},
        ASKS | {"origin": "null"},
        ASKS | {"origin": ""},
        ASKS | {"origin": "*"},
    ],
)
async def test_what_is_no_preflight_of_the_page_needs_a_key(open_to_page: FakeService, headers):
    response = await open_to_page.client.options(CHAT, headers=headers)
    assert response.status_code == 401
    assert response.headers.get(CROSS) == (PAGE if headers == ORIGIN else None)
    assert response.headers["vary"] == "Origin"


async def test_a_preflight_may_ask_for_no_headers(open_to_page: FakeService):
    asks = {"access-control-request-method": "GET"}
    response = await open_to_page.client.options(CHAT, headers=ORIGIN | asks)
    assert response.status_code == 204
    assert "access-control-allow-headers" not in response.headers


@pytest.mark.parametrize("names", ['x-a;"', "x" * 5000, "ä".encode().decode("latin-1")])
async def test_only_header_names_are_written_back(open_to_page: FakeService, names: str):
    asks = ORIGIN | ASKS | {"access-control-request-headers": names.encode("latin-1")}
    response = await open_to_page.client.options(CHAT, headers=asks)
    assert response.status_code == 204
    assert "access-control-allow-headers" not in response.headers


@pytest.mark.parametrize(
    ("origins", "allowed"), [((PAGE,), "true"), (("*", PAGE), "true"), (("*",), None)]
)
async def test_a_private_network_is_open_to_named_origins(start: Any, origins, allowed):
    service = await start(cors_origins=origins)
    asks = ORIGIN | ASKS | {"access-control-request-private-network": "true"}
    response = await service.client.options(CHAT, headers=asks)
    assert response.status_code == 204
    assert response.headers.get("access-control-allow-private-network") == allowed


# ── answers ─────────────────────────────────────────────────────────────────────────────────────


async def test_every_answer_can_be_read(open_to_page: FakeService):
    """The streamed and the refused as well: a 401, a 404, a 405, a 429 and a 400."""
    service = open_to_page
    answers = [
        (200, await service.post(chat(stream=True), **KEY, **ORIGIN)),
        (429, await service.post(chat(), **KEY, **ORIGIN)),
        (401, await service.post(chat(), **ORIGIN)),
        (401, await service.client.get("/nothing", headers=ORIGIN)),
        (404, await service.client.get("/nothing", headers=ORIGIN | KEY)),
        (405, await service.client.get(CHAT, headers=ORIGIN | KEY)),
        (400, await service.post(b"{", **KEY, **ORIGIN)),
        (200, await service.client.get("/livez", headers=ORIGIN)),
        (200, await service.client.get("/", headers=ORIGIN)),
    ]
    for status, response in answers:
        assert response.status_code == status
        assert response.headers[CROSS] == PAGE
        assert response.headers["vary"] == "Origin"
        assert "retry-after" in response.headers["access-control-expose-headers"].lower()
    assert "retry-after" in answers[1][1].headers


async def test_a_loading_model_can_be_read(start: Any):
    """The 503 with its Retry-After."""
    service = await start(cors_origins=("*",), hold=0.0)
    service.write()
    service.backend.load_gate.hold()
    response = await service.post(chat(), **ORIGIN)
    assert (response.status_code, response.headers[CROSS]) == (503, "*")
    assert "retry-after" in response.headers


async def test_a_request_that_is_out_of_time_can_be_read(start: Any):
    service = await start(cors_origins=(PAGE,), request_timeout=0.05)
    service.write()
    service.backend.load_gate.hold()
    call = Call(service.app, chat(), ORIGIN)
    await call.task
    start_message = call._sent.get_nowait()
    assert (start_message["status"], dict(start_message["headers"])[CROSS.encode()]) == (
        504,
        PAGE.encode(),
    )


@pytest.mark.parametrize("origin", ["http://evil.example", "null", PAGE + "/"])
async def test_a_page_of_another_origin_is_served_and_cannot_read(open_to_page, origin: str):
    """As without browsers: CORS says who may read, keys say who may call."""
    response = await open_to_page.client.get("/livez", headers={"origin": origin})
    assert (response.status_code, response.headers["vary"]) == (200, "Origin")
    assert CROSS not in response.headers


async def test_a_cache_learns_that_answers_differ(open_to_page: FakeService):
    """Also from the answer to who sends no origin."""
    assert (await open_to_page.client.get("/livez")).headers["vary"] == "Origin"


async def test_an_origin_is_compared_as_browsers_send_it(open_to_page: FakeService):
    """The setting's case and default port make no difference."""
    response = await open_to_page.client.get("/livez", headers={"origin": "https://app.example"})
    assert response.headers[CROSS] == "https://app.example"


async def test_any_origin_may_be_allowed(start: Any):
    """With a `*`, which no browser takes together with credentials."""
    service = await start(cors_origins=("*",), api_keys=Secret("s3cret"))
    for origin in ("https://anywhere.example", "null"):
        preflight = await service.client.options(CHAT, headers=ASKS | {"origin": origin})
        assert (preflight.status_code, preflight.headers[CROSS]) == (204, "*")
        answer = await service.client.get("/v1/models", headers={"origin": origin})
        assert (answer.status_code, answer.headers[CROSS]) == (401, "*")
        assert "access-control-allow-credentials" not in answer.headers


async def test_without_the_setting_there_is_no_cors(service: FakeService):
    """A preflight is an OPTIONS like any other."""
    response = await service.client.options(CHAT, headers=ORIGIN | ASKS)
    assert (response.status_code, response.headers["allow"]) == (204, "OPTIONS, POST")
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert "vary" not in (await service.client.get("/livez", headers=ORIGIN)).headers


@pytest.mark.slow
def test_every_header_of_the_document_can_be_read():
    """Those that belong to the connection have no use for scripts."""
    text = (Path(__file__).parents[2] / "openapi/openapi.yaml").read_text()
    document = yaml.safe_load(text)
    named = {
        name.lower()
        for path in document["paths"].values()
        for operation in path.values()
        for response in operation["responses"].values()
        for name in response.get("headers", {})
    }
    assert len(named) > 10
    assert named - {"connection"} <= {name.lower() for name in EXPOSED}


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("*", ("*",)),
        (
            "http://localhost:3000, https://a.example",
            ("http://localhost:3000", "https://a.example"),
        ),
        ("tauri://localhost,http://[::1]:8000", ("tauri://localhost", "http://[::1]:8000")),
        ("", ()),
    ],
)
def test_the_setting_is_a_list_of_origins(text: str, origins: tuple[str, ...]):
    assert load_settings({}, {"PILOTLIGHT_CORS_ORIGINS": text}).cors_origins == origins


@pytest.mark.parametrize(
    "text",
    ["localhost:3000", "http://localhost:3000/", "http://*.example", "null", "http://", "a b"],
)
def test_what_is_no_origin_is_refused(text: str):
    """With the setting's name: an origin with a path would never match."""
    with pytest.raises(ConfigError, match=re.escape("PILOTLIGHT_CORS_ORIGINS")):
        load_settings({}, {"PILOTLIGHT_CORS_ORIGINS": text})
