"""Clients that are slow, idle or endless, over sockets: none of them holds a connection."""

import http.client
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.end_to_end.test_process import Served, served

ALLOWED = 1.0
"""Seconds of the limits here; the other limit of a test is so long that it cannot be the one."""
LONG = "1000"
ENDLESS = 1_000_000_000
"""Bytes; far more than what the kernel holds between two processes."""
PATIENCE = 30.0
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
POST = (
    b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., object]:
    """Return a function that serves nothing but the embedded model, with these flags."""
    nowhere: Path = tmp_path_factory.mktemp("models")
    flags = ("--models-dir", str(nowhere), "--models-file", str(nowhere / "none.yaml"))
    return lambda *more: served(*flags, *more)


@pytest.fixture(scope="module")
def impatient(start: Callable[..., object]) -> Iterator[Served]:
    """Serve with a short time to receive in and a long one between requests."""
    with start("--receive-timeout", str(ALLOWED), "--keep-alive", LONG) as server:
        yield server


@pytest.fixture(scope="module")
def lean(start: Callable[..., object]) -> Iterator[Served]:
    """Serve with heads of 64 KiB, which is the default, and all the time in the world."""
    with start("--receive-timeout", LONG, "--keep-alive", LONG) as server:
        yield server


@contextmanager
def connected(server: Served) -> Iterator[socket.socket]:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        yield client


def to_the_end(client: socket.socket) -> bytes:
    """Return what is sent until the connection ends; raises `TimeoutError` where it does not."""
    said = b""
    try:
        while piece := client.recv(65536):
            said += piece
    except ConnectionResetError:
        pass  # so it ends for who is sending still
    return said


def status(client: socket.socket) -> int:
    """Return the status of one answer, and read it to its end."""
    response = http.client.HTTPResponse(client)
    response.begin()
    response.read()
    return response.status


@contextmanager
def dribbling(client: socket.socket, piece: bytes) -> Iterator[None]:
    """Send *piece* again and again, until the block or the connection ends."""
    over = threading.Event()

    def send() -> None:
        try:
            while not over.wait(0.1):
                client.sendall(piece)
        except OSError:
            pass  # the server has closed it, which is what is tested

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE)


def resident(server: Served) -> int:
    """Return the bytes of memory that *server* has."""
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def flood(client: socket.socket) -> None:
    """Send without an end, or nearly so."""
    for _ in range(ENDLESS // 1_000_000):
        client.sendall(b"x" * 1_000_000)


def is_served(server: Served) -> bool:
    return httpx.get(f"{server.url}/livez", timeout=PATIENCE).status_code == 200


# ── time ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: b"])
def test_a_head_that_does_not_come(impatient, sent):
    """Who says nothing, or half of it, is not answered, and not kept."""
    with connected(impatient) as client:
        client.sendall(sent)
        assert to_the_end(client) == b""
    assert is_served(impatient)


@pytest.mark.parametrize("piece", [b"x", b"\r\n"])
def test_a_head_that_comes_for_ever(impatient, piece):
    """Each byte is no new beginning: the time is the head's, and empty lines are none."""
    with connected(impatient) as client:
        if piece == b"x":
            client.sendall(b"GET /livez HTTP/1.1\r\nX-A: ")
        with dribbling(client, piece):
            assert to_the_end(client) == b""


@pytest.mark.parametrize("piece", [b"G", b"\r\n"])
def test_the_second_head_on_a_connection(impatient, piece):
    """What comes after an answer ends uvicorn's own timer, and begins ours."""
    with connected(impatient) as client:
        client.sendall(GET)
        assert status(client) == 200
        client.sendall(piece)
        assert to_the_end(client) == b""


def test_a_body_that_does_not_come(impatient):
    """It gets the documented error, and the connection is closed."""
    with connected(impatient) as client:
        client.sendall(POST % b"/v1/chat/completions" + b'{"model":')
        said = to_the_end(client)
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head.lower()
    assert msgspec.json.decode(body)["error"]["code"] == "request_timeout"


def test_a_body_that_nobody_reads(impatient):
    """A path that does not exist is answered at once; the body that is due keeps nothing open."""
    with connected(impatient) as client:
        client.sendall(POST % b"/nowhere")
        assert status(client) == 404
        with dribbling(client, b" "):
            assert to_the_end(client) == b""


def test_an_idle_connection(start):
    """It is closed after `--keep-alive`, and not before its time."""
    flags = ("--receive-timeout", LONG, "--keep-alive", str(ALLOWED))
    with start(*flags) as server, connected(server) as client:
        asked = time.monotonic()  # this process may see the answer late, and the end no earlier
        client.sendall(GET)
        assert status(client) == 200
        assert to_the_end(client) == b""
        assert time.monotonic() - asked > ALLOWED - 0.01  # uvloop counts milliseconds


def test_a_patient_client(impatient):
    """A connection that is idle between requests has all of `--keep-alive`."""
    with connected(impatient) as client:
        client.sendall(GET)
        assert status(client) == 200
        client.settimeout(2 * ALLOWED)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(PATIENCE)
        client.sendall(GET)
        assert status(client) == 200


# ── size ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "kind"), [(b"/v1/chat/completions", None), (b"/v1/messages", "error")]
)
def test_a_head_that_is_too_large(lean, path, kind):
    """It is a 431 with the documented error, in the shape of its path, and the end."""
    with connected(lean) as client:
        client.sendall(b"POST %b HTTP/1.1\r\nX-A: %b\r\n\r\n" % (path, b"x" * 70_000))
        head, _, body = to_the_end(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"connection: close" in head
    assert b"x-request-id: req_" in head
    told = msgspec.json.decode(body)
    assert told["error"]["code"] == "head_too_large"
    assert told.get("type") == kind
    assert is_served(lean)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez?" + b"q" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n" + b"a: b\r\n" * 12_000 + b"\r\n",
    ],
    ids=["path", "many headers"],
)
def test_everything_of_a_head_counts(lean, head):
    """A long address, and many short headers."""
    with connected(lean) as client:
        client.sendall(head)
        assert to_the_end(client).startswith(b"HTTP/1.1 431 ")


def test_a_head_that_is_just_small_enough(lean):
    """Below the limit everything is as ever, for one request after another."""
    with connected(lean) as client:
        for _ in range(3):
            client.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: %b\r\n\r\n" % (b"x" * 60_000))
            assert status(client) == 200


@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /livez HTTP/1.1\r\nX-A: ",
        b"GET /livez?",
        b"POST /nowhere HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A: ",
        b"POST /nowhere HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a=",
    ],
    ids=["header", "path", "trailer", "chunk extension"],
)
def test_what_has_no_end_takes_no_memory(lean, beginning):
    """The server stops to listen, and holds no more than it did."""
    assert is_served(lean)
    before = resident(lean)
    with connected(lean) as client:
        client.sendall(beginning)
        with pytest.raises(ConnectionError):
            flood(client)
    assert resident(lean) - before < 32_000_000
    assert is_served(lean)


def test_requests_that_come_at_once(lean):
    """Heads that are small by themselves do not count as a large one if they come in one piece."""
    times = 20
    large = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: %b\r\n\r\n" % (b"x" * 10_000)
    last = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with connected(lean) as client:
        client.sendall(large * times + last)
        assert to_the_end(client).count(b"HTTP/1.1 200 ") == times + 1
