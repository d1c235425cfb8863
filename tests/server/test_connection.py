"""The connection's limits, byte by byte: no socket, and timers that the tests run out."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from pilotlight.server.connection import HttpConnection, connection_class

GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
LIMIT = 200
TIMEOUT = 7.0


class Transport:
    """Keeps what is written, and what was done to the connection."""

    def __init__(self) -> None:
        self.sent = b""
        self.reading = True
        self.ended: str | None = None

    def get_extra_info(self, name: str) -> Any:  # noqa: ARG002 - no address, no TLS
        return None

    def write(self, data: bytes) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.ended is not None

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


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
        self.answer = asyncio.Event()
        self.headers: list[tuple[bytes, bytes]] = []
        limits = {"receive_timeout": receive_timeout, "max_header_bytes": LIMIT}
        self.connection: HttpConnection = connection_class(**limits)(
            config=Config(self._app, interface="asgi3", proxy_headers=False, log_config=None),
            server_state=ServerState(),
            app_state={},
            _loop=self.loop,
        )
        self.connection.connection_made(self.transport)

    async def _app(self, scope: Any, _receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
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

    def refusal(self) -> Any:
        """Return the body of the 431 that was sent."""
        head, _, body = self.transport.sent.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
        assert b"\r\nconnection: close" in head
        assert b"\r\ncontent-length: %d" % len(body) in head
        return json.loads(body)


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
    error = client.refusal()["error"]
    assert (error["type"], str(LIMIT) in error["message"]) == ("invalid_request_error", True)
    sent = client.transport.sent
    assert client.transport.ended is None
    assert not client.transport.reading

    client.send(GET)
    assert (client.transport.sent, client.paths) == (sent, [])
    (linger,) = client.loop.pending(1.0)
    linger.run_out()
    assert client.transport.ended == "aborted"
    assert client.loop.pending(TIMEOUT) == []


async def test_anthropics_clients_are_refused_in_their_shape(client: Client):
    """By the path, the part of it that has arrived."""
    client.send(b"POST /v1/messages?beta=true HTTP/1.1\r\na: " + b"x" * LIMIT + b"\r\n")
    body = client.refusal()
    assert body["type"] == "error"
    assert body["request_id"].encode() in client.transport.sent.partition(b"\r\n\r\n")[0]


async def test_a_large_trailer_ends_the_connection(client: Client):
    """A response is under way: there is no place for another."""
    client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    client.send(b"a: " + b"x" * LIMIT + b"\r\n")
    assert (client.transport.sent, client.transport.ended) == (b"", "aborted")


async def test_a_body_is_not_counted(client: Client):
    client.send(HEAD + b"Content-Length: %d\r\n\r\n" % (10 * LIMIT))
    for _ in range(10):
        client.send(b"x" * LIMIT)
    await client.finish()
    assert client.transport.sent.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_what_is_no_http_is_a_400(client: Client):
    client.send(b"\x16\x03\x01\x02\x00\r\n\r\n")
    assert client.transport.sent.startswith(b"HTTP/1.1 400 ")
    assert client.transport.ended == "closed"
    assert client.loop.pending(TIMEOUT) == []


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
