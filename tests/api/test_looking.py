"""Models, probes and pages: what can be looked at without asking a model anything."""

import asyncio
import re
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.api.caller import Call
from tests.conftest import chat


async def ready(service):
    """Wait until the models to preload are settled.

    With a pause: asking without one leaves the loading thread waiting for the interpreter's lock
    at each of its file accesses.
    """
    async with asyncio.timeout(10):
        while (await service.client.get("/readyz")).json()["status"] == "loading":  # noqa: ASYNC110 - the probe is what is tested
            await asyncio.sleep(0.01)


async def test_the_models_are_listed(service):
    """Each model has OpenAI's fields, its state, its backend and its context."""
    service.write("other", context_length=512)
    await service.ask()

    listed = (await service.client.get("/v1/models")).json()

    assert listed["object"] == "list"
    models = {model.pop("id"): model for model in listed["data"]}
    assert models["m"].pop("created") > 1_700_000_000
    assert models["m"] == {
        "object": "model",
        "owned_by": "pilotlight",
        "state": "ready",
        "backend": "fake",
        "context_length": 4096,
        "capabilities": ["completion"],
        "input_modalities": ["text"],
        "parent": None,
        "root": "m.fake",
        "error": None,
    }
    assert models["other"]["state"] == "absent"
    assert models["other"]["context_length"] == 512
    assert models["spark"]["backend"] == "llama_cpp"


async def test_a_damaged_model_is_listed_too(service):
    """A file that no backend serves is listed, without a backend."""
    (service.folder / "torn.gguf").write_bytes(b"GGUF\3\0\0\0")

    torn = (await service.client.get("/v1/models/torn")).json()

    assert (torn["backend"], torn["context_length"], torn["state"]) == (None, None, "invalid")
    assert torn["error"] == "torn.gguf: the file ends within its header"


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("org/name", "org/name"),
        ("org/name", "ORG%2FName"),
        ("a b+c", "a%20b+c"),
        ("50%", "50%25"),
        ("größe", "gr%C3%B6%C3%9Fe"),
        ("q?", "q%3F"),
        ("llama:8b", "llama:8b"),
    ],
)
async def test_a_model_with_an_odd_name(service, tmp_path, start, name, asked):
    """A model is found by its name, slashes and escapes included."""
    path = service.folder / "m.fake"
    (tmp_path / "models.yaml").write_text(f"models: {{{name!r}: {str(path)!r}}}", encoding="utf-8")
    configured = await start()

    found = await configured.client.get(f"/v1/models/{asked}")

    assert found.status_code == 200, found.text
    assert found.json()["id"] == name


async def test_probes_without_preload(service):
    """Without models to preload a server is ready at once."""
    for path in ("/readyz", "/health"):
        answer = await service.client.get(path)
        assert (answer.status_code, answer.json()) == (
            200,
            {"status": "ready", "models": [], "hanging": []},
        )


async def test_probe_of_one_model(service):
    """It names the model and its state, absent and ready alike."""
    absent = await service.client.get("/readyz", params={"model": "m"})
    assert (absent.status_code, absent.json()["status"]) == (503, "loading")
    assert [(one["id"], one["state"]) for one in absent.json()["models"]] == [("m", "absent")]

    await service.post(chat())
    ready = await service.client.get("/readyz", params={"model": " M"})
    assert (ready.status_code, ready.json()) == (
        200,
        {
            "status": "ready",
            "models": [
                {"id": "m", "state": "ready", "progress": 1.0, "retry_after": None, "error": None}
            ],
            "hanging": [],
        },
    )


async def test_probe_of_a_model_that_is_not_there(service):
    """Probes need no key, so the 404 suggests no name to a stranger."""
    service.write("assistant")
    unknown = await service.client.get("/readyz", params={"model": "asistant"})
    assert unknown.status_code == 404
    assert unknown.json()["error"]["message"] == (
        "there is no model 'asistant'; GET /v1/models lists the models"
    )


async def test_probes_while_a_model_is_preloaded(service, start):
    """`/readyz` and `/health` are 503 with progress until it is ready; `/livez` is always 200."""
    service.backend.load_gate.hold()
    held = await start(backend=service.backend, preload=("m",))
    assert await asyncio.to_thread(service.backend.load_gate.wait_reached)

    for path in ("/readyz", "/health"):
        answer = await held.client.get(path)
        assert answer.status_code == 503
        assert answer.json()["status"] == "loading"
        (model,) = answer.json()["models"]
        assert (model["id"], model["state"], model["error"]) == ("m", "loading", None)
    assert (await held.client.get("/livez")).json() == {"status": "ok", "hanging": []}

    service.backend.load_gate.release()
    await ready(held)
    assert (await held.client.get("/readyz")).status_code == 200


async def test_probes_when_the_preload_failed(service, start):
    """A load that fails permanently is reported with its reason."""
    service.write("bad", load_error="invalid")
    failed = await start(preload=("bad",))
    await ready(failed)

    answer = await failed.client.get("/health")

    assert answer.status_code == 503
    assert answer.json()["status"] == "failed"
    assert "bad.fake" in answer.json()["models"][0]["error"]
    assert (await failed.client.get("/livez")).status_code == 200


async def test_livez_while_a_request_waits_for_a_load(service):
    """A load that requests wait for stops no probe."""
    service.backend.load_gate.hold()
    call = Call(service.app, chat())
    assert await asyncio.to_thread(service.backend.load_gate.wait_reached)

    assert (await service.client.get("/livez")).status_code == 200

    await call.hang_up()


@pytest.mark.parametrize("path", ["/livez", "/v1/models", "/openapi.json", "/v1/chat/completions"])
async def test_options(service, path):
    """OPTIONS names the methods of a path."""
    answer = await service.client.options(path)

    assert answer.status_code == 204
    expected = "POST" if path.startswith("/v1/chat") else "GET"
    assert expected in answer.headers["allow"]


@pytest.mark.parametrize("path", ["/livez", "/v1/models", "/swagger"])
async def test_head(service, path):
    """HEAD has the status and the headers of GET."""
    answer = await service.client.head(path)

    assert answer.status_code == 200
    whole = await service.client.get(path)
    assert answer.headers["content-type"] == whole.headers["content-type"]


PREFIX = "/llm/eu"


class Stripping(httpx.ASGITransport):
    """A reverse proxy that serves the application below `PREFIX`, and strips that."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path.startswith(f"{PREFIX}/"), request.url
        inner = request.url.copy_with(raw_path=request.url.raw_path.removeprefix(PREFIX.encode()))
        return await super().handle_async_request(
            httpx.Request(request.method, inner, headers=request.headers)
        )


@pytest.fixture
async def proxied(start):
    """Return a function that starts a service behind such a proxy, and returns its client."""
    async with AsyncExitStack() as stack:

        async def proxied(**settings) -> httpx.AsyncClient:
            service = await start(**settings)
            client = httpx.AsyncClient(
                transport=Stripping(service.app), base_url="http://proxy", follow_redirects=True
            )
            return await stack.enter_async_context(client)

        yield proxied


@pytest.mark.parametrize(
    ("path", "settings", "count"),
    [
        ("/swagger", {}, 3),
        ("/swagger/", {}, 3),
        ("/", {}, 3),
        ("/", {"page": False}, 3),
    ],
)
async def test_pages_below_a_prefix_refer_to_files_that_are_served(proxied, path, settings, count):
    """Every link is relative, to this server's files alone, and each of them is served."""
    client = await proxied(**settings)
    page = await client.get(PREFIX + path)
    assert page.status_code == 200
    references = re.findall(r'\b(?:src|href|url)[=:]\s*"([^"#]+)"', page.text)
    files = [one for one in references if not one.startswith("data:")]
    assert len(files) == count
    for file in files:
        assert (await client.get(page.url.join(file))).status_code == 200, file


async def test_modules_of_the_page_below_a_prefix_import_modules_that_are_served(proxied):
    client = await proxied()
    page = await client.get(f"{PREFIX}/")
    (entry,) = re.findall(r'<script type="module" src="([^"]+)"', page.text)
    pending, seen = {page.url.join(entry)}, set()
    while pending:
        seen.add(url := pending.pop())
        module = await client.get(url)
        assert module.status_code == 200, url
        imported = re.findall(r'(?:\bfrom |\bimport\()"([^"]+)"', module.text)
        pending |= {url.join(one) for one in imported if one.startswith(".")} - seen
    assert len(seen) > 20


async def test_the_document_below_a_prefix_names_the_server_it_comes_from(proxied):
    """Swagger UI sends what is tried out to an address relative to the document's."""
    client = await proxied()
    document = await client.get(f"{PREFIX}/openapi.json")
    (server,) = document.json()["servers"]
    base = str(document.url.join(server["url"])).removesuffix("/")
    assert base == f"http://proxy{PREFIX}"
    assert (await client.get(f"{base}/v1/models")).status_code == 200
