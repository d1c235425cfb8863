"""What the tests of the running service share: the application in this process, and live ones."""

import asyncio
import contextlib
import gc
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn

from pilotlight.api.application import Application
from pilotlight.config import Settings
from pilotlight.server.app import create_app
from pilotlight_backend.testing.fake import FakeBackend, FakeEngine, FakeModel

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"


def chat(model: str = "m", text: str = "hi", **fields: Any) -> dict[str, Any]:
    """Return a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def events(text: str) -> list[Any]:
    """Return the data of each server-sent event in *text*; `[DONE]` stays a string.

    Comments are passed over, as every reader of events does, and so are the events' names.
    """
    lines = (line for line in text.split("\n") if line.startswith("data: "))
    messages = [line.removeprefix("data: ") for line in lines]
    return [one if one == "[DONE]" else msgspec.json.decode(one) for one in messages]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage, now and later, in what stays to the end.

    That took a fifth of the time of collection, and half a second of each `gc.collect()`.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape what a worker cannot send: logs have names of files that are not UTF-8."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


# ── in this process, on the test's own loop ─────────────────────────────────────────────────────


class FakeService:
    """An application over the fake backend; *client* speaks to it without a socket."""

    def __init__(
        self,
        folder: Path,
        backend: FakeBackend,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.backend = backend
        self.app = create_app(settings, backends={"fake": backend}, clock=clock)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://pilotlight", timeout=30
        )

    @property
    def engine(self) -> FakeEngine:
        """The one engine that is loaded."""
        (engine,) = self.backend.engines
        return engine

    def write(self, name: str = "m", **keys: Any) -> Path:
        """Write the model *name* into the models folder; *keys* say how it behaves."""
        return FakeModel(**keys).write(self.folder / f"{name}.fake")

    async def post(self, body: Any = None, /, path: str = CHAT, **headers: str) -> httpx.Response:
        """Send *body*, bytes as they are and anything else as JSON, to the endpoint at *path*."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.client.post(
            path, content=content, headers={"content-type": "application/json", **headers}
        )

    async def ask(self, **fields: Any) -> dict[str, Any]:
        """Return the answer to a chat request with *fields*."""
        response = await self.post(chat(**fields))
        assert response.status_code == 200, response.text
        return response.json()

    async def stream(self, **fields: Any) -> list[Any]:
        """Return the events of the streamed answer to a chat request with *fields*."""
        response = await self.post(chat(stream=True, **fields))
        assert response.status_code == 200, response.text
        return events(response.text)


@asynccontextmanager
async def running(app: Application) -> AsyncIterator[None]:
    """Run the lifespan of *app* in a task of its own, as servers do: it ends where it began."""
    up, over = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        async with app.lifespan():
            up.set()
            await over.wait()

    task = asyncio.create_task(run())
    waiting = asyncio.create_task(up.wait())
    await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        yield
    finally:
        over.set()
        await task


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that starts a `FakeService` with the settings it is given."""
    folder = tmp_path / "models"
    folder.mkdir()
    backends: list[FakeBackend] = []
    async with AsyncExitStack() as stack:

        async def start(
            *,
            backend: FakeBackend | None = None,
            clock: Callable[[], float] = time.monotonic,
            **settings: Any,
        ) -> FakeService:
            given = {"models_dir": folder, "models_file": tmp_path / "models.yaml"} | settings
            backends.append(backend or FakeBackend())
            service = FakeService(folder, backends[-1], Settings(**given), clock)
            await stack.enter_async_context(running(service.app))
            await stack.enter_async_context(service.client)
            return service

        try:
            yield start
        finally:
            for backend in backends:
                backend.load_gate.release()
                backend.token_gate.release()


@pytest.fixture
async def service(start: Callable[..., Any]) -> FakeService:
    """Return a service with the settings as they are and one model, `m`, that says `Hello.`."""
    service = await start()
    service.write(reply="Hello.")
    return service


# ── live: a server on a port of its own ─────────────────────────────────────────────────────────


class LiveServer(uvicorn.Server):
    """uvicorn in a thread; its loop can be looked at from the test."""

    def __init__(self, app: Application) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="on",
                log_config=None,
                proxy_headers=False,
                timeout_graceful_shutdown=5,
            )
        )
        self.app = app
        self.up = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.loop: asyncio.AbstractEventLoop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: this is no main thread."""
        yield

    def on_loop(self, look: Callable[[], Any]) -> Any:
        """Return what *look* returns when the server's loop runs it."""

        async def run() -> Any:
            return look()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(30)


@contextmanager
def live(app: Application) -> Iterator[LiveServer]:
    """Serve *app* on a free port for as long as the context lasts."""
    server = LiveServer(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [server.listener]})
    thread.start()
    try:
        assert server.up.wait(30)
        yield server
    finally:
        server.should_exit = True
        thread.join(30)
        server.listener.close()
    assert not thread.is_alive()


@pytest.fixture
def serve() -> Iterator[Callable[[Application], LiveServer]]:
    """Return a function that serves an application until the test ends."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(live(app))


@pytest.fixture(scope="session", params=["llama_cpp", "onnx"])
def spark(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """Serve the embedded model of each backend in turn, loaded, with eight slots."""
    nowhere = tmp_path_factory.mktemp("spark")
    settings = Settings(
        backends=(request.param,),
        models_dir=nowhere / "models",
        models_file=nowhere / "models.yaml",
        parallel=8,
    )
    with live(create_app(settings)) as server:
        answer = httpx.post(server.url + CHAT, json=chat("spark", max_tokens=1), timeout=60)
        assert answer.status_code == 200, answer.text
        yield server
