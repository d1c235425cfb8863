"""The connection's limits and refusals, byte by byte: no socket, and timers that tests run out."""

import asyncio
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from pilotlight.api.http.errors import error_response
from pilotlight.api.http.unparsed import Unparsed
from pilotlight.errors import ServiceError
from pilotlight.server.connection import HttpConnection, connection_class

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
LIMIT = 200
TIMEOUT = 7.0


class Transport:
    """Keeps what is written, and what was done to the connection."""

    def __init__(self) -> None:
        self.sent = b""
        self.wrote_eof = False
        self.ended: str | None = None

    def get_extra_info(self, name: str) -> Any:  # noqa: ARG002 - no address, no TLS
        return None

    def write(self, data: bytes) -> None:
        assert not self.wrote_eof
        self.sent += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.wrote_eof = True

    def is_closing(self) -> bool:
        return self.ended is not None

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Timer:
    """A timer that a test runs out."""

    def __init__(self, delay: float, callback: Callable[..., None]) -> None:
        self.delay = delay
        self._callback = callback
        self.pending = True

    def cancel(self) -> None:
        self.pending = False

    def run_out(self) -> None:
        assert self.pending
        self.pending = False
        self._callback()


class Loop:
    """The running loop, with timers that only a test runs out."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []

    def call_later(self, delay: float, callback: Callable[..., None]) -> Timer:
        self.timers.append(Timer(delay, callback))
        return self.timers[-1]

    def create_task(self, coroutine: Any, **named: Any) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(coroutine, **named)

    def pending(self, delay: float) -> list[Timer]:
        return [timer for timer in self.timers if timer.pending and timer.delay == delay]


class Client:
    """One connection, and an application that answers when it is told to."""

    def __init__(self, *, receive_timeout: float = TIMEOUT) -> None:
        self.transport, self.loop = Transport(), Loop()
        self.paths: list[str] = []
        self.reads_bodies = False
        self.body = b""
        """What the application has read."""
        self.answer = asyncio.Event()
        self.headers: list[tuple[bytes, bytes]] = []
        limits = {"receive_timeout": receive_timeout, "max_header_bytes": LIMIT}
        self.connection: HttpConnection = connection_class(**limits)(
            config=Config(self._served, interface="asgi3", proxy_headers=False, log_config=None),
            server_state=ServerState(),
            app_state={},
            _loop=self.loop,
        )
        self.connection.connection_made(self.transport)

    async def _served(self, scope: Any, receive: Any, send: Any) -> None:
        scope["pilotlight"] = SimpleNamespace(max_retry_after=60.0)
        try:
            await Unparsed(self._app)(scope, receive, send)
        except ServiceError as error:
            await error_response(scope, error)(scope, receive, send)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        while self.reads_bodies:
            message = await receive()
            self.body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await self.answer.wait()
        start = {"type": "http.response.start", "status": 200, "headers": self.headers}
        await send(start)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    def send(self, data: bytes) -> None:
        self.connection.data_received(data)

    async def finish(self) -> None:
        """Let the application answer, and wait for it."""
        self.answer.set()
        await asyncio.gather(*self.connection.tasks)

    async def refusal(self, status: bytes, before: bytes = b"") -> Any:
        """Return the body of the last response, an error with *status* after what is *before*."""
        while self.connection.tasks:
            await asyncio.gather(*self.connection.tasks)
        assert self.transport.sent.startswith(before)
        head, _, body = self.transport.sent.removeprefix(before).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 " + status)
        assert b"\r\nconnection: close" in head
        assert b"\r\ncontent-length: %d" % len(body) in head
        return json.loads(body)

    def is_lingering(self) -> bool:
        """Return whether the end of the response is sent, and the connection ends in a moment."""
        return self.transport.wrote_eof and len(self.loop.pending(1.0)) == 1


@pytest.fixture
async def client() -> Client:
    return Client()


async def test_a_request_is_answered_and_the_next_one_too(client: Client):
    """Each stops the timer that its beginning started."""
    for count in (1, 2):
        client.send(GET)
        await client.finish()
        assert client.transport.sent.count(b"HTTP/1.1 200 OK\r\n") == count
        assert client.loop.pending(TIMEOUT) == []
    assert client.paths == ["/livez"] * 2
    assert client.transport.ended is None


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"a: " + b"x" * LIMIT + b"\r\n\r\n"],
        [HEAD, b"a: " + b"x" * (LIMIT - len(HEAD)), b"y" * 100],
        [HEAD, *[b"a: b\r\n"] * LIMIT],
        [b"GET /" + b"a" * LIMIT],
    ],
    ids=["at once", "without an end", "many small ones", "path"],
)
async def test_a_large_head_is_refused(client: Client, pieces: list[bytes]):
    """The client gets a second to read the response; what it sends meanwhile is not parsed."""
    for piece in pieces:
        client.send(piece)
    error = (await client.refusal(b"431 "))["error"]
    assert (error["type"], str(LIMIT) in error["message"]) == ("invalid_request_error", True)
    sent = client.transport.sent
    assert client.transport.ended is None
    assert client.is_lingering()

    client.send(GET)
    assert (client.transport.sent, client.paths) == (sent, [])
    (linger,) = client.loop.pending(1.0)
    linger.run_out()
    assert client.transport.ended == "aborted"
    assert client.loop.pending(TIMEOUT) == []


async def test_anthropics_clients_are_refused_in_their_shape(client: Client):
    """By the path, the part of it that has arrived."""
    client.send(b"POST /v1/messages?beta=true HTTP/1.1\r\na: " + b"x" * LIMIT + b"\r\n")
    body = await client.refusal(b"431 ")
    assert body["type"] == "error"


async def test_a_large_trailer_ends_the_request(client: Client):
    client.reads_bodies = True
    client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    client.send(b"a: " + b"x" * LIMIT + b"\r\n")
    assert (await client.refusal(b"431 "))["error"]["code"] == "head_too_large"
    assert client.is_lingering()


async def test_a_body_is_not_counted(client: Client):
    client.send(HEAD + b"Content-Length: %d\r\n\r\n" % (10 * LIMIT))
    for _ in range(10):
        client.send(b"x" * LIMIT)
    await client.finish()
    assert client.transport.sent.startswith(b"HTTP/1.1 200 OK\r\n")


MALFORMED = {
    "TLS": (b"\x16\x03\x01\x02\x00\r\n\r\n", "Invalid method"),
    "method": (b"G(T / HTTP/1.1\r\n\r\n", "Invalid method"),
    "version": (b"GET / HTTP/9.9\r\n\r\n", "Invalid HTTP version"),
    "protocol": (b"GET / HTTX/1.1\r\n\r\n", "Expected HTTP/"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "this is HTTP/2"),
    "space in the path": (b"GET /a b HTTP/1.1\r\n\r\n", "Expected HTTP/"),
    "path": (b"GET http://[ HTTP/1.1\r\n\r\n", "Invalid path"),
    "NUL in a header": (b"GET / HTTP/1.1\r\na: b\0c\r\n\r\n", "Invalid header value"),
    "header without a colon": (b"GET / HTTP/1.1\r\na b\r\n\r\n", "Invalid header token"),
    "negative length": (HEAD + b"Content-Length: -1\r\n\r\n", "character in Content-Length"),
    "two lengths": (HEAD + b"Content-Length: 1\r\n" * 2 + b"\r\n", "Duplicate Content-Length"),
    "two framings": (
        HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding can't be present",
    ),
}


@pytest.mark.parametrize(("sent", "reason"), MALFORMED.values(), ids=MALFORMED)
async def test_what_is_no_http_is_a_400(sent: bytes, reason: str):
    """At once, and a byte at a time. The application's own endpoints do not see it."""
    for pieces in ([sent], [bytes([one]) for one in sent]):
        client = Client()
        for piece in pieces:
            client.send(piece)
        error = (await client.refusal(b"400 "))["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", "malformed_request")
        assert error["message"].startswith("the request is not valid HTTP/1.1: ")
        assert reason in error["message"]
        assert client.is_lingering()
        assert client.paths == []
        assert client.loop.pending(TIMEOUT) == []


async def test_what_follows_a_request_is_refused_after_its_response(client: Client):
    """In one piece, while the first is answered; uvicorn would write the 400 before it."""
    client.send(b"POST /v1/messages HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + b"no HTTP\r\n\r\n")
    assert client.transport.sent == b""
    await client.finish()
    first, end, _ = client.transport.sent.partition(b"two\r\n0\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    body = await client.refusal(b"400 ", before=first + end)
    assert body["error"]["code"] == "malformed_request"
    assert "type" not in body  # nothing of its path has arrived, and the earlier one is not its own
    assert client.is_lingering()


async def test_what_follows_a_complete_response_is_refused(client: Client):
    client.send(GET)
    await client.finish()
    before = client.transport.sent
    client.send(b"no HTTP\r\n\r\n")
    assert (await client.refusal(b"400 ", before))["error"]["code"] == "malformed_request"


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 2\r\n\r\n{}", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"],
    ids=["length", "chunks"],
)
async def test_offer_of_another_protocol_is_ignored(client: Client, body: bytes, size: int):
    """Java's HttpClient makes it with each request, and has the body read all the same."""
    sent = HEAD + H2C + body + GET
    client.reads_bodies = True
    for start in range(0, len(sent), size):
        client.send(sent[start : start + size])
    await client.finish()
    while client.connection.tasks:
        await client.finish()
    assert client.body == b"{}"
    assert client.paths == ["/v1/chat/completions", "/livez"]
    assert client.transport.sent.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert client.loop.pending(TIMEOUT) == []
    assert client.transport.ended is None


@pytest.mark.parametrize(
    ("connection", "ended"), [(b"Upgrade, close", "closed"), (b"upgrade , keep-alive", None)]
)
async def test_other_options_of_the_connection_are_kept(
    client: Client, connection: bytes, ended: str | None
):
    client.send(b"GET / HTTP/1.1\r\nUpgrade: TLS/1.3\r\nConnection: " + connection + b"\r\n\r\n")
    await client.finish()
    assert client.paths == ["/"]
    assert client.transport.ended == ended


async def test_connect_is_refused(client: Client):
    """To the parser it is an upgrade too; the server is no proxy."""
    client.send(b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n")
    error = (await client.refusal(b"400 "))["error"]
    assert error["message"] == "the request is not valid HTTP/1.1: Invalid path"


async def test_refused_client_that_sends_no_more_gets_its_response(client: Client):
    """The connection of one for which `eof_received` is false is closed by asyncio."""
    client.send(b"no HTTP\r\n\r\n")
    assert client.connection.eof_received()
    assert (await client.refusal(b"400 "))["error"]["code"] == "malformed_request"
    assert client.is_lingering()


@pytest.mark.parametrize("behind", [b"", b"no HTTP\r\n\r\n"], ids=["valid", "refused behind it"])
async def test_client_that_sends_no_more_has_gone(client: Client, behind: bytes):
    """What is generated for it would be of no use."""
    client.send(GET + behind)
    assert not client.connection.eof_received()
    await client.finish()


async def test_what_follows_a_last_request_is_not_answered(client: Client):
    """`Connection: close` ends the connection: data after it is no request (RFC 9112, 9.6)."""
    client.send(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n" + GET)
    await client.finish()
    assert client.transport.sent.count(b"HTTP/1.1 ") == 1
    assert client.transport.sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert client.transport.ended == "closed"


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


async def test_a_body_that_cannot_be_parsed_is_refused(client: Client):
    """Whoever reads it gets the error, and no other response follows."""
    client.reads_bodies = True
    client.send(CHUNKED + b"1\r\nx\r\n")
    await asyncio.sleep(0)
    client.send(b"no size\r\n" + GET)
    error = (await client.refusal(b"400 "))["error"]
    assert error["message"].endswith("Invalid character in chunk size")
    assert client.is_lingering()
    assert len(client.paths) == 1


async def test_a_body_that_cannot_be_parsed_waits_for_the_requests_before_it(client: Client):
    client.reads_bodies = True
    client.send(GET + CHUNKED + b"no size\r\n")
    await client.finish()
    first, end, _ = client.transport.sent.partition(b"two\r\n0\r\n\r\n")
    error = (await client.refusal(b"400 ", before=first + end))["error"]
    assert error["code"] == "malformed_request"


async def test_the_rest_of_a_body_that_nobody_reads_gets_no_second_response(client: Client):
    """A client would take it for that of its next request."""
    client.send(CHUNKED)
    await client.finish()
    sent = client.transport.sent
    assert sent.count(b"HTTP/1.1 ") == 1
    client.send(b"no size\r\n")
    assert client.transport.sent == sent
    assert client.is_lingering()


async def test_a_lost_connection_ends_the_request_that_is_answered(client: Client):
    """And not only the one that came last, which waits for its turn."""
    client.reads_bodies = True
    client.send(CHUNKED)
    answered = client.connection.cycle
    client.send(b"0\r\n\r\n" + b"no HTTP\r\n\r\n")
    assert client.connection.cycle is not answered
    client.connection.connection_lost(None)
    assert answered.disconnected
    await client.finish()
    assert client.transport.sent == b""


@pytest.mark.parametrize("data", [b"", HEAD, b"\r\n\r\n"], ids=["nothing", "a part", "empty lines"])
async def test_a_request_that_does_not_come_closes_the_connection(client: Client, data: bytes):
    if data:
        client.send(data)
    (timer,) = client.loop.pending(TIMEOUT)
    timer.run_out()
    assert client.transport.ended == "closed"


async def test_empty_lines_between_requests_start_the_timer(client: Client):
    """They end uvicorn's keep-alive timer; without another the connection would never close."""
    client.send(GET)
    await client.finish()
    assert client.loop.pending(TIMEOUT) == []
    client.send(b"\r\n")
    assert len(client.loop.pending(TIMEOUT)) == 1


async def test_a_body_that_does_not_come_is_left_to_the_application(client: Client):
    """It answers with 408, and the end of that closes the connection."""
    client.send(HEAD + b"Content-Length: 9\r\n\r\n")
    (timer,) = client.loop.pending(TIMEOUT)
    timer.run_out()
    assert client.transport.ended is None
    client.connection.connection_lost(None)
    await client.finish()


async def test_without_a_limit_there_is_no_timer():
    client = Client(receive_timeout=0)
    client.send(HEAD)
    assert client.loop.timers == []


async def test_a_lost_connection_has_no_timer(client: Client):
    client.connection.connection_lost(None)
    assert client.loop.pending(TIMEOUT) == []


@pytest.mark.parametrize("length", [None, b"6"])
async def test_http_1_0_gets_no_chunks(client: Client, length: bytes | None):
    """The response ends with the connection, or where its length says."""
    client.headers = [(b"content-length", length)] if length else []
    client.send(b"GET /livez HTTP/1.0\r\nExpect: 100-continue\r\n\r\n")
    await client.finish()
    head, _, body = client.transport.sent.partition(b"\r\n\r\n")
    assert body == b"onetwo"
    assert b"chunked" not in head
    assert b"100 Continue" not in client.transport.sent
    assert client.transport.ended == "closed"


async def test_pipelined_requests_are_answered_in_turn(client: Client):
    """The second is of HTTP/1.0, and waits for the first."""
    client.send(GET + b"GET /readyz HTTP/1.0\r\n\r\n")
    await client.finish()
    await client.finish()
    assert client.paths == ["/livez", "/readyz"]
    assert client.transport.sent.count(b" 200 OK\r\n") == 2
    assert client.transport.sent.endswith(b"\r\n\r\nonetwo")
