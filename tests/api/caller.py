"""A client that is driven by hand: what the server sends can be awaited, and it can hang up."""

import asyncio
from typing import Any

import msgspec

from tests.conftest import CHAT, events


class Call:
    """One request to *app*, to the chat endpoint or *path*, begun at once."""

    def __init__(
        self,
        app: Any,
        body: Any,
        headers: dict[str, str] | None = None,
        path: str = CHAT,
        *,
        pieces: int = 1,
        whole: bool = True,
        method: str = "POST",
    ) -> None:
        """Send the body in so many *pieces*; where it is not *whole*, more is awaited after it."""
        self._body = msgspec.json.encode(body)
        length = -(-len(self._body) // pieces)
        self._starts = list(range(0, len(self._body), length))
        self._length = length
        self._whole = whole
        self._sent: asyncio.Queue[Any] = asyncio.Queue()
        self._read = asyncio.Event()
        self._gone = asyncio.Event()
        self.status: int | None = None
        fields = {"content-type": "application/json", **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if self._starts:
            start = self._starts.pop(0)
            piece = self._body[start : start + self._length]
            more = bool(self._starts) or not self._whole
            return {"type": "http.request", "body": piece, "more_body": more}
        self._read.set()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self._sent.put_nowait(message)

    async def next(self) -> list[Any]:
        """Wait for the next piece of the body, and return its events."""
        async with asyncio.timeout(10):
            message = await self._sent.get()
            if message["type"] == "http.response.start":
                self.status = message["status"]
                message = await self._sent.get()
        return events(message["body"].decode())

    async def read(self) -> None:
        """Wait until the server has read all that is sent, and waits for more."""
        async with asyncio.timeout(10):
            await self._read.wait()

    async def hang_up(self) -> None:
        """Leave, and wait until the server has noticed."""
        self._gone.set()
        async with asyncio.timeout(10):
            await self.task
