"""An HTTP connection with a time limit for receiving a request and a size limit for its headers.

uvicorn's only timer runs between two requests and ends with the next byte, whatever that is, and
httptools does not limit headers (uvicorn 0.54, httptools 0.9). What is not HTTP gets uvicorn's
plain text at once, before the responses that are under way: here it waits for them, and gets the
documented error. Responses to HTTP/1.0 are mended too. The overridden parts of uvicorn are private:
tests/server/test_uvicorn_names.py lists them.
"""

import asyncio
import sys
from typing import Any

from httptools import HttpParserCallbackError, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from pilotlight.api.http.unparsed import mark_unparsed
from pilotlight.errors import HeadTooLarge, MalformedRequest, ServiceError

_LINGER = 1.0
"""Seconds in which a refused client can read the response."""
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
        self._data = b""
        """What is being parsed."""
        self._too_large = self._refused = False
        self._in_head = False
        """Whether a request has begun whose headers are not complete."""
        self._receiving: RequestResponseCycle | None = None
        """The request whose body is not complete."""
        self._answering: RequestResponseCycle | None = None
        """The request that was passed to the application last."""
        self._fault: ServiceError | None = None
        """Why the rest of the body of `_receiving` cannot be read."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer for a request."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer, and end the request that is answered.

        uvicorn ends the one that came last, which may wait for its turn.
        """
        self._stop_timer()
        self.pipeline.clear()
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse *data*, unless the client was refused: then the rest stays in the socket."""
        if self._refused:
            self.transport.pause_reading()
            return
        self._idle += len(data)
        self._data = data
        super().data_received(data)
        self._data = b""
        if self._idle > self.max_header_bytes:
            self._refuse(self._head_too_large())
        elif self._timer is None and self._is_idle():
            self._start_timer()  # empty lines are no request, and end uvicorn's timer

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Return whether a client that sends no more gets its response: only if it is refused.

        `printf ... | nc -N` sends its end at once. After a valid request that means that the client
        has gone, for which asyncio closes the connection.
        """
        super().eof_received()
        return self._refused and self._answering is self.cycle

    def on_message_begin(self) -> None:
        """Reset the size, and start the timer."""
        super().on_message_begin()
        self._head, self._in_head = 0, True
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
        if self._ignores_upgrade():
            return
        super().on_headers_complete()
        self._in_head, self._receiving = False, self.cycle

    def on_body(self, body: bytes) -> None:
        """Reset the count of unparsed bytes."""
        self._idle = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the timer: the request is complete."""
        self._idle = 0
        if self._ignores_upgrade():
            return
        self._in_head, self._receiving = False, None
        self._stop_timer()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Stop the timer: another protocol takes over."""
        self._stop_timer()
        super().handle_websocket_upgrade()

    def _ignores_upgrade(self) -> bool:
        """Return whether the request is answered in HTTP/1.1 though it offers another protocol."""
        offers = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        return offers and not self._should_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """Parse a request again without its `Upgrade`, which a server may ignore (RFC 9110, 7.8).

        httptools takes what follows such a head for the other protocol, and drops the body. Java's
        HttpClient offers h2c with each request. uvicorn calls this where the parser has stopped.
        """
        offset = getattr(sys.exc_info()[1], "args", (0,))[0]
        head = without_upgrade(
            self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers
        )
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        super().data_received(head + self._data[offset:])

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start the application for a request; uvicorn calls this in turn for pipelined ones."""
        self._answering = cycle
        if cycle.scope["http_version"] == "1.0":
            cycle.waiting_for_100_continue = False  # HTTP/1.0 has no 1xx (RFC 9110, 15.2)
            app = close_delimited(cycle, app)
        super()._start_asgi_task(cycle, self._with_faults(cycle, app))

    def _with_faults(self, cycle: RequestResponseCycle, app: Any) -> Any:
        """Wrap *app* so that reading a body raises the fault that ended its parsing."""

        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            async def receive_sound() -> Any:
                message = await receive()
                if self._fault is not None and cycle is self._receiving:
                    raise self._fault
                return message

            await app(scope, receive_sound, send)

        return wrapped

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's plain text
        """Refuse what the parser has stopped at; uvicorn calls this while it handles the error."""
        self._refuse(self._head_too_large() if self._too_large else _malformed(sys.exc_info()[1]))

    def _head_too_large(self) -> HeadTooLarge:
        return HeadTooLarge(
            f"the request line and the headers are larger than {self.max_header_bytes} bytes"
        )

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

    def _refuse(self, error: ServiceError) -> None:
        """Answer with *error* in its turn, and close the connection. Nothing is parsed any more."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._stop_timer()
        self._unset_keepalive_if_required()
        body_of = self._receiving
        if body_of is None:
            self._answer_head(error)
        elif body_of.response_complete:
            # A second response would be taken for that of another request.
            _Lingering(self.transport, self.loop).close()
        else:
            self._fault = error
            body_of.keep_alive = False
            body_of.transport = _Lingering(self.transport, self.loop)  # type: ignore[assignment]
            body_of.message_event.set()

    def _answer_head(self, error: ServiceError) -> None:
        """Let the application answer a head that cannot be parsed, after the requests before it."""
        earlier, url = self.cycle, self.url if self._in_head else b""
        scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.parser.get_method().decode("latin-1") if url else "",
            "scheme": self.scheme,
            "path": url.partition(b"?")[0].decode("latin-1"),
            "raw_path": url,
            "query_string": b"",
            "root_path": "",
            "headers": self.headers if self._in_head else [],
            "server": self.server,
            "client": self.client,
            "state": self.app_state.copy(),
        }
        mark_unparsed(scope, error)
        self.cycle = RequestResponseCycle(
            scope=scope,  # type: ignore[arg-type]
            transport=_Lingering(self.transport, self.loop),  # type: ignore[arg-type]
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )
        self.cycle.more_body = False
        if earlier is None or earlier.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.pipeline.appendleft((self.cycle, self.app))


class _Lingering:
    """A transport that closes one direction, and the other when the client does or a moment later.

    Closing a socket with unread data resets the connection, and the response may be lost (RFC 9112,
    9.6).
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self.write = transport.write
        self.is_closing = transport.is_closing

    def close(self) -> None:
        """Send the end of the response, and end the connection within `_LINGER` seconds."""
        if self._transport.can_write_eof():  # not over TLS
            self._transport.write_eof()
        self._loop.call_later(_LINGER, self._transport.abort)


def without_upgrade(
    method: bytes, url: bytes, version: str, headers: list[tuple[bytes, bytes]]
) -> bytes:
    """Return the head of a request that offers no other protocol; names are in lower case."""
    offer = {b"upgrade", b"http2-settings"}
    lines = [b"%s %s HTTP/%s" % (method, url, version.encode())]
    for name, value in headers:
        kept = value
        if name == b"connection":
            options = [one.strip() for one in value.split(b",")]
            kept = b", ".join(one for one in options if one.lower() not in offer)
        if name not in offer and (kept or name != b"connection"):
            lines.append(b"%s: %s" % (name, kept))
    return b"\r\n".join([*lines, b"", b""])


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


def _malformed(error: BaseException | None) -> MalformedRequest:
    """Return the client's error for the parser's *error*."""
    reason = str(error)
    if isinstance(error, HttpParserCallbackError):  # of uvicorn's callbacks, only a path fails
        reason = "Invalid path"
    elif reason == "Pause on PRI/Upgrade":  # the preface of RFC 9113, 3.4
        reason = "this is HTTP/2"
    return MalformedRequest(f"the request is not valid HTTP/1.1: {reason}")
