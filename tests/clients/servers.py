"""Live servers with made-up models, for clients to meet."""

import http.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pilotlight.config import Settings
from pilotlight.server.app import create_app
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
from tests.conftest import CHAT, LiveServer, chat, live


class FakeServer:
    """A live server over the fake backend, which remembers the statuses it answered with."""

    def __init__(self, server: LiveServer, backend: FakeBackend, statuses: list[int]) -> None:
        self.url = server.url
        self.base_url = f"{server.url}/v1"
        self.backend = backend
        self.statuses = statuses


@contextmanager
def serving(folder: Path, models: Mapping[str, Mapping[str, Any]], **settings: Any) -> Any:
    """Serve *models*, what each is like by its name, from *folder*."""
    for name, keys in models.items():
        FakeModel(**keys).write(folder / f"{name}.fake")
    backend = FakeBackend()
    given = Settings(models_dir=folder, models_file=folder / "none.yaml", **settings)
    statuses: list[int] = []
    app = create_app(given, backends={"fake": backend})
    with live(remembering(app, statuses)) as server:
        try:
            yield FakeServer(server, backend, statuses)
        finally:
            backend.load_gate.release()
            backend.token_gate.release()


def remembering(app: Any, statuses: list[int]) -> Any:
    """Return *app*, with the status of each of its answers appended to *statuses*."""

    async def remember(scope: Any, receive: Any, send: Any) -> None:
        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        await app(scope, receive, told)

    return remember


@contextmanager
def asking(server: FakeServer) -> Iterator[None]:
    """Keep a request running whose response is not read, while the context lasts."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    headers = {"content-type": "application/json"}
    connection.request("POST", CHAT, body=msgspec.json.encode(chat()), headers=headers)
    try:
        yield
    finally:
        connection.close()
