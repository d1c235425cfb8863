"""Server-sent events: their bytes, and a response that ends its source when the client leaves."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import msgspec
from litestar.types import Receive, Scope, Send

from pilotlight.api.disconnect import ClientDisconnected, unless_disconnected

DONE = b"data: [DONE]\n\n"
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


def comment(text: str) -> bytes:
    """Return *text* as what a reader of events passes over, whatever it holds."""
    return f": {' '.join(text.splitlines())}\n\n".encode()


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
    ) -> None:
        """*close* ends what *messages* are made of, once they are closed themselves.

        Closing a generator that was never begun runs none of it, so *messages* could not do that
        for a client that leaves before the first.
        """
        self._messages = messages
        self._close = close
        self._headers = [*_HEADERS, *headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send the messages; returns when the last is sent or the client has gone."""
        try:
            await unless_disconnected(receive, self._send(send))
        except ClientDisconnected:
            pass
        finally:
            await self._messages.aclose()
            await self._close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        async for message in self._messages:
            if not message:  # what an answer begins with is told by the headers, in some endpoints
                continue
            await send({"type": "http.response.body", "body": message, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
