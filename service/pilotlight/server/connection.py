"""An HTTP connection with a time limit for receiving a request and a size limit for its headers.

uvicorn's only timer runs between two requests and ends with the next byte, whatever that is, and
httptools does not limit headers (uvicorn 0.54, httptools 0.9). Responses to HTTP/1.0 are mended
too. The overridden parts of uvicorn are private: tests/server/test_uvicorn_names.py lists them.
"""

import asyncio
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from pilotlight.api.http.error_bodies import ANTHROPIC, shape_at
from pilotlight.errors import HeadTooLarge
from pilotlight.observability.request_context import request_id

_LINGER = 1.0
"""Seconds in which a refused client can read the response. Closing a socket with unread data resets
the connection, and the response may be lost."""
_LINE_OVERHEAD = len(": \r\n")


class HttpConnection(HttpToolsProtocol):
    """One connection; `connection_class` sets its limits."""

    receive_timeout: float
    """Seconds for the headers of a request, and again for its body; 0 for unlimited."""
    max_header_bytes: int

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._timer: asyncio.TimerHandle | None = None
        self._head = 0
        """Parsed bytes of the request line and headers, or of trailers."""
        self._idle = 0
        """Bytes received since the parser last reported headers or a piece of a body."""
        self._too_large = self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer for a request."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse *data*, unless the client was refused."""
        if self._refused:
            return
        self._idle += len(data)
        super().data_received(data)
        if self._idle > self.max_header_bytes:
            self._refuse()
        elif self._timer is None and self._is_idle():
            self._start_timer()  # empty lines are no request, and end uvicorn's timer

    def on_message_begin(self) -> None:
        """Reset the size, and start the timer."""
        super().on_message_begin()
        self._head = 0
        if self._timer is None:
            self._start_timer()

    def on_url(self, url: bytes) -> None:
        """Count a part of the path."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header or a trailer."""
        self._count(len(name) + len(value) + _LINE_OVERHEAD)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Restart the timer for the body."""
        self._idle = 0
        self._start_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Reset the count of unparsed bytes."""
        self._idle = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the timer: the request is complete."""
        self._idle = 0
        self._stop_timer()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Stop the timer: another protocol takes over."""
        self._stop_timer()
        super().handle_websocket_upgrade()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start the application for a request; uvicorn calls this in turn for pipelined ones."""
        if cycle.scope["http_version"] == "1.0":
            cycle.waiting_for_100_continue = False  # HTTP/1.0 has no 1xx (RFC 9110, 15.2)
            app = close_delimited(cycle, app)
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """Send a 431 if the parser was stopped because of the size, else uvicorn's 400."""
        self._stop_timer()
        if self._too_large:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > self.max_header_bytes:
            self._too_large = True
            raise ValueError(
                "the head is too large"
            )  # stops the parser; uvicorn calls send_400_response

    def _is_idle(self) -> bool:
        """Return whether no response is under way, and no timer or close ends the connection."""
        answered = self.cycle is None or self.cycle.response_complete
        ends = self.timeout_keep_alive_task is not None or self.transport.is_closing()
        return answered and not ends

    def _start_timer(self) -> None:
        """Start the timer anew."""
        self._stop_timer()
        if self.receive_timeout:
            self._timer = self.loop.call_later(self.receive_timeout, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        """Close the connection, unless its request gets a 408, which closes it too."""
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _refuse(self) -> None:
        """Send a 431, if no response is under way, and close the connection."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._stop_timer()
        self._unset_keepalive_if_required()
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()  # in the middle of a body or of another response
            return
        self.transport.write(_refusal(self.url, self.max_header_bytes))
        self.transport.pause_reading()
        self.loop.call_later(_LINGER, self.transport.abort)


def close_delimited(cycle: RequestResponseCycle, app: Any) -> Any:
    """Wrap *app* so that its responses without a length end with the connection.

    uvicorn sends such responses in chunks, which HTTP/1.0 does not have (RFC 9112, 6.1). It closes
    the connection after an HTTP/1.0 request in any case. *cycle* is that of the request.
    """
    no_length = False
    lock = asyncio.Lock()

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        async def send_plain(message: Any) -> None:
            nonlocal no_length
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message.get("headers", ())}
                if b"content-length" not in names:
                    no_length, cycle.chunked_encoding = True, False
                await send(message)
                return
            async with lock:  # two tasks send the tokens of a stream and its pings
                if no_length:
                    # uvicorn checks each message against what is left of the length.
                    cycle.expected_content_length = len(message.get("body", b""))
                await send(message)

        await app(scope, receive, send_plain)

    return wrapped


def connection_class(*, receive_timeout: float, max_header_bytes: int) -> type[HttpConnection]:
    """Return the protocol class with these limits, for uvicorn's `http` option."""
    limits = {"receive_timeout": receive_timeout, "max_header_bytes": max_header_bytes}
    return type("LimitedConnection", (HttpConnection,), limits)


def _refusal(url: bytes, limit: int) -> bytes:
    """Return the 431 for a request to *url*, which may be incomplete, above *limit* bytes."""
    shape = shape_at(url.partition(b"?")[0].decode("latin-1"))
    error = HeadTooLarge(f"the request line and the headers are larger than {limit} bytes")
    request = request_id(None)
    body = msgspec.json.encode(shape.body(HeadTooLarge, error.message, None, request))
    lines = [
        STATUS_LINE[error.status].removesuffix(b"\r\n"),
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"connection: close",
        b"x-request-id: " + request.encode(),
        *([b"request-id: " + request.encode()] if shape is ANTHROPIC else []),
    ]
    return b"\r\n".join((*lines, b"", body))
