"""What the clients meet: servers with made-up models, each in one kind of trouble."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pilotlight.config import Secret
from tests.clients.programs import Node, missing
from tests.clients.servers import FakeServer, asking, serving

DOCUMENT = Path(__file__).parents[2] / "openapi/openapi.yaml"


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.clients)


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[Callable[..., FakeServer]]:
    """Return a function that serves the models that it is given, by name, until the test ends."""
    with ExitStack() as stack:

        def serve(settings: Mapping[str, Any] | None = None, **models: Any) -> FakeServer:
            return stack.enter_context(serving(tmp_path, models, **(settings or {})))

        yield serve


@pytest.fixture
def cold(fakes: Callable[..., FakeServer]) -> FakeServer:
    """Serve `slow`, whose load takes longer than a request is held: the first gets a 503."""
    return fakes({"hold": 0.2}, slow={"reply": "Awake.", "load_seconds": 1.0, "load_steps": 20})


@pytest.fixture(scope="session")
def _troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeServer]:
    models = {
        "m": {"reply": "Hello."},
        "bad": {"load_error": "invalid"},
        "broken": {"fail_after": 0},
    }
    with serving(tmp_path_factory.mktemp("troubled"), models) as server:
        yield server


@pytest.fixture
def troubled(_troubled: FakeServer) -> FakeServer:
    """Serve `m`, which says `Hello.`, `bad`, which never loads, and `broken`, which never answers.

    Nothing is remembered from the tests before.
    """
    _troubled.statuses.clear()
    return _troubled


@pytest.fixture
def closed(fakes: Callable[..., FakeServer]) -> FakeServer:
    """Serve `m`, which says `Hello.`, to those who have the key `s3cret`."""
    return fakes({"api_keys": Secret("ann:s3cret")}, m={"reply": "Hello."})


@pytest.fixture(scope="session")
def _full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeServer]:
    folder = tmp_path_factory.mktemp("full")
    with ExitStack() as stack:
        server = stack.enter_context(serving(folder, {"m": {}}, parallel=1, max_queue=1))
        server.backend.token_gate.hold()
        stack.enter_context(asking(server))
        assert server.backend.token_gate.wait_reached()
        stack.enter_context(asking(server))
        deadline = time.monotonic() + 10
        while server.backend.engines[0].stats().queued < 1:  # submitting tells no event
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield server


@pytest.fixture
def full(_full: FakeServer) -> FakeServer:
    """Serve `m`, whose one slot is taken and whose queue is full: every request gets a 429."""
    _full.statuses.clear()
    return _full


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test whose client connects to another machine, as for telemetry.

    Some clients catch every error of such a call, so it is recorded and not only refused.
    """
    called: list[str] = []
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def check(host: object) -> None:
        if host not in ("127.0.0.1", "localhost", "::1", None):
            called.append(str(host))
            raise ConnectionRefusedError(f"{host}: a test speaks to this machine alone")

    def connect_here(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            check(address[0])
        connect(self, address)

    def resolve_here(host: Any, *args: Any, **kwargs: Any) -> Any:
        check(host.decode() if isinstance(host, bytes) else host)
        return resolve(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
    yield
    assert called == []


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the library, imported here: it takes seconds, and would fetch a list of prices.

    There is an event loop at hand: without one LiteLLM makes its own, which nobody closes.
    """
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm  # noqa: PLC0415

    with asyncio.Runner() as runner:
        runner.get_loop()
        yield litellm


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """Return Node with its packages installed and its programs compiled."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    node = Node(DOCUMENT)
    yield node
    node.close()
