"""HTTP/1.1 over a bare socket: a client that costs little, times what it reads, and misbehaves.

An HTTP library would be most of what a refusal takes, and cannot hang up in the middle of a header.
"""

import asyncio
import json
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import httptools
from msgspec import Struct

_CHUNK = 65536
_LAST_DATA = 52
"""Where linux/tcp.h's `tcp_info` has `tcpi_last_data_recv`: milliseconds, in the kernel's ticks."""


class Answer(Struct, frozen=True, kw_only=True):
    """What came back; moments by `time.perf_counter`."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    sent_at: float
    """When the request was handed to the kernel."""
    head_at: float
    """When the first bytes were there."""
    arrived_at: float
    """When the kernel had the last bytes, to some milliseconds: what is between that and *ended_at*
    is the reader's own, who was busy with something else."""
    ended_at: float
    whole: bool
    """False where the reader had enough before the end."""

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


class ConnectionLost(Exception):
    """The server closed the connection before its answer was whole."""


def post(path: str, body: Any, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a request's bytes; a *body* that is bytes is sent as it is, others as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        "Connection": "close",
        **(headers or {}),
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join((*lines, "", "")).encode() + content


def get(path: str) -> bytes:
    """Return the bytes of a request without a body."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


class Reading:
    """An answer as far as it was read; httptools calls it."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self.body += data

    def on_message_complete(self) -> None:
        """Note the end."""
        self.complete = True


class Connection:
    """One connection, for one request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sent_at = 0.0

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to *port* of this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, data: bytes) -> None:
        """Send *data*."""
        self._writer.write(data)
        self._sent_at = time.perf_counter()
        await self._writer.drain()

    async def answer(
        self, enough: Callable[[Reading], bool] = lambda _: False, *, pause: float = 0.0
    ) -> Answer:
        """Return the answer, or what there is of it once the reader has *enough*.

        With a *pause* of some seconds between two reads the reader is a slow one, who takes 256
        bytes at a time. Raises `ConnectionLost`.
        """
        reading = Reading()
        parser = httptools.HttpResponseParser(reading)
        head_at = 0.0
        while not (reading.complete or (head_at and enough(reading))):
            data = await self._reader.read(256 if pause else _CHUNK)
            if not data:
                raise ConnectionLost(f"after {len(reading.body)} bytes of the body")
            head_at = head_at or time.perf_counter()
            parser.feed_data(data)
            if pause:
                await asyncio.sleep(pause)
        ended_at = time.perf_counter()
        return Answer(
            status=parser.get_status_code(),
            headers=reading.headers,
            body=bytes(reading.body),
            sent_at=self._sent_at,
            head_at=head_at,
            arrived_at=ended_at - self._unread_for(),
            ended_at=ended_at,
            whole=reading.complete,
        )

    def _unread_for(self) -> float:
        """Return for how many seconds the latest data had been there, as the kernel knows it."""
        found = self._writer.get_extra_info("socket")
        info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA + 4)
        return int.from_bytes(info[_LAST_DATA:], sys.byteorder) / 1000

    def hang_up(self) -> None:
        """Be gone at once, without a word."""
        self._writer.transport.abort()


async def exchange(port: int, request: bytes) -> Answer:
    """Send *request* over a connection of its own, and return the whole answer.

    Raises `OSError` or `ConnectionLost`.
    """
    connection = await Connection.open(port)
    try:
        await connection.send(request)
        return await connection.answer()
    finally:
        connection.hang_up()
