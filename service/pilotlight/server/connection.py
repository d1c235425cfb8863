"""A client's connection: its limits before a request is there, and what HTTP/1.0 does not know.

uvicorn's timer runs between two requests alone and ends with the next byte, whatever that is, and
httptools has no limit for headers (uvicorn 0.54, httptools 0.9).
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
from pilotlight.observability.request_watch import request_id

_LINGER = 1.0
"""Seconds in which a refused client may read why; a socket that is closed with something unread in
it is reset, and the answer may be lost with it."""
_OF_A_LINE = len(": \r\n")


class Connection(HttpToolsProtocol):
    """One connection; subclasses say its limits."""

    receive_timeout: float
    """Seconds for a request's head, and for its body; 0 is any time."""
    max_header_bytes: int

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._timer: asyncio.TimerHandle | None = None
        self._head = 0
        """Bytes of the first line and headers, or of trailers, as far as they are parsed."""
        self._idle = 0
        """Bytes since something came of what was sent: a head, or a piece of a body."""
        self._too_large = self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read *data*, unless the client was refused."""
        if self._refused:
            return
        self._idle += len(data)
        super().data_received(data)
        if self._idle > self.max_header_bytes:
            self._refuse()
        elif self._timer is None and self._is_unasked():
            self._wait()  # empty lines, which are no request and end uvicorn's own timer

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._head = 0
        if self._timer is None:
            self._wait()

    def on_url(self, url: bytes) -> None:
        """Take a part of the path."""
        super().on_url(url)
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        self._grow(len(name) + len(value) + _OF_A_LINE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to wait for the body."""
        self._idle = 0
        self._wait()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._idle = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self._idle = 0
        self._stop_waiting()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to another protocol."""
        self._stop_waiting()
        super().handle_websocket_upgrade()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Answer a request; pipelined ones wait until it is their turn."""
        if cycle.scope["http_version"] == "1.0":
            cycle.waiting_for_100_continue = False  # which it does not know (RFC 9110, 15.2)
            app = ends_with_connection(cycle, app)
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be parsed, or was not parsed to its end."""
        self._stop_waiting()
        if self._too_large:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _grow(self, size: int) -> None:
        self._head += size
        if self._head > self.max_header_bytes:
            self._too_large = True
            raise ValueError("the head is too large")  # the parser stops, and uvicorn refuses

    def _is_unasked(self) -> bool:
        """Tell whether nothing is being answered, and nothing is known to end the connection."""
        answered = self.cycle is None or self.cycle.response_complete
        ends = self.timeout_keep_alive_task is not None or self.transport.is_closing()
        return answered and not ends

    def _wait(self) -> None:
        """Give the client its time, from now on."""
        self._stop_waiting()
        if self.receive_timeout:
            self._timer = self.loop.call_later(self.receive_timeout, self._time_is_over)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_is_over(self) -> None:
        """Close the connection, unless its request is told a 408, which closes it as well."""
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _refuse(self) -> None:
        """Say that the head is too large, where no answer is under way, and hang up."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._stop_waiting()
        self._unset_keepalive_if_required()
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()  # it is in the middle of a body, or of other answers
            return
        self.transport.write(_refusal(self.url, self.max_header_bytes))
        self.transport.pause_reading()
        self.loop.call_later(_LINGER, self.transport.abort)


def ends_with_connection(cycle: RequestResponseCycle, app: Any) -> Any:
    """Return *app* so that its answers without a length end with their connection.

    uvicorn sends every such answer in chunks, which HTTP/1.0 does not know (RFC 9112, 6.1), and
    closes the connection behind an HTTP/1.0 request as it is. *cycle* is that of the request.
    """
    endless = False
    one_at_a_time = asyncio.Lock()

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def send_plain(message: Any) -> None:
            nonlocal endless
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message.get("headers", ())}
                if b"content-length" not in names:
                    endless, cycle.chunked_encoding = True, False
                await send(message)
                return
            async with one_at_a_time:  # a stream's words and its pings come from two tasks
                if endless:
                    # What uvicorn holds the rest of the answer to: this message, whatever it is.
                    cycle.expected_content_length = len(message.get("body", b""))
                await send(message)

        await app(scope, receive, send_plain)

    return answer


def connection_class(*, receive_timeout: float, max_header_bytes: int) -> type[Connection]:
    """Return the protocol with these limits, as uvicorn takes it."""
    limits = {"receive_timeout": receive_timeout, "max_header_bytes": max_header_bytes}
    return type("LimitedConnection", (Connection,), limits)


def _refusal(url: bytes, limit: int) -> bytes:
    """Return the answer to a request for *url*, which may be cut, whose head is above *limit*."""
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
