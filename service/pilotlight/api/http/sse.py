"""Server-sent events: their bytes, and a response that ends its source when the client leaves."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, TypeAlias

import msgspec

from pilotlight.api.http.asgi import Receive, Scope, Send
from pilotlight.api.http.disconnect import ClientDisconnected, unless_disconnected
from pilotlight.observability.request_context import overdue

DONE = b"data: [DONE]\n\n"
_LAST_WORDS = 5.0
"""Seconds to send the last message after the time limit."""
Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    # nginx would gather the events otherwise (its X-Accel-Buffering).
    (b"x-accel-buffering", b"no"),
]
_encoder = msgspec.json.Encoder()


def encode(event: Any) -> bytes:
    """Return *event* as one message."""
    return b"data: " + _encoder.encode(event) + b"\n\n"


def encode_named(name: str, event: Any) -> bytes:
    """Return *event* as one message of the type *name*."""
    return b"event: " + name.encode() + b"\n" + encode(event)


def comment(text: str) -> bytes:
    """Return *text* as a comment, which readers of events ignore; line breaks become spaces."""
    return f": {' '.join(text.splitlines())}\n\n".encode()


PING = comment("keep-alive")


class Idle(Protocol):
    """The messages of a silent stream."""

    @property
    def seconds(self) -> float | None:
        """How long the stream may be silent; None for ever, from then on."""

    async def message(self) -> bytes:
        """Return the next message."""


class EventSourceResponse:
    """An ASGI application that sends *messages*, bytes of any number of events at a time.

    Not Litestar's `Stream`: when the client leaves while a chunk is being sent, that drops the
    generator to be closed at some later time; here it is closed before the call returns, and with
    it the request in the engine.
    """

    def __init__(
        self,
        messages: AsyncGenerator[bytes],
        close: Callable[[], Awaitable[None]],
        headers: Headers = (),
        idle: Idle | None = None,
        overdue: Callable[[], bytes] | None = None,
    ) -> None:
        """*close* closes the source of *messages*, after *messages* themselves.

        *overdue* returns the last message of a stream whose request exceeds its time limit.

        Closing a generator that was never begun runs none of it, so *messages* could not do that
        for a client that leaves before the first.
        """
        self._messages = messages
        self._close = close
        self._headers = [*_HEADERS, *headers]
        self._idle = idle
        self._overdue = overdue
        self._began = False
        self._sent_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send the messages; returns when the last is sent or the client disconnects."""
        try:
            await unless_disconnected(receive, self._send(send))
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:
            if self._overdue is None or not self._began or not overdue():
                raise
            await self._end()  # free the slot first: the client may not read
            await self._send_last(receive, send, self._overdue())
        finally:
            await self._end()

    async def _end(self) -> None:
        await self._messages.aclose()
        await self._close()

    async def _send_last(self, receive: Receive, send: Send, last: bytes) -> None:
        """Send *last* if the client still reads, and end the stream."""

        async def send_last() -> None:
            await send({"type": "http.response.body", "body": last, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        with suppress(ClientDisconnected, TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await unless_disconnected(receive, send_last())

    async def _send(self, send: Send) -> None:
        self._began = True
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        async with self._keep_alive(send):
            async for message in self._messages:
                if message:
                    self._sent_at = self._now()
                    await send({"type": "http.response.body", "body": message, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @asynccontextmanager
    async def _keep_alive(self, send: Send) -> AsyncIterator[None]:
        """Send messages while the stream is idle.

        A separate task watches the clock, so that a message costs no timer.
        """
        if self._idle is None:
            yield
            return
        self._sent_at = self._now()
        task = asyncio.create_task(self._send_idle(send, self._idle))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _send_idle(self, send: Send, idle: Idle) -> None:
        while (seconds := idle.seconds) is not None:
            if (left := self._sent_at + seconds - self._now()) > 0:
                await asyncio.sleep(left)
                continue
            sent_at, message = self._sent_at, await idle.message()
            if sent_at == self._sent_at:  # nothing was sent meanwhile
                self._sent_at = self._now()
                await send({"type": "http.response.body", "body": message, "more_body": True})

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
