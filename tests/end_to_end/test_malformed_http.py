"""Requests that are not valid HTTP, over sockets: the documented error, and what is recorded."""

import http.client
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.end_to_end.test_process import PILOTLIGHT, Served, environment

PATIENCE = 30.0
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
CHAT = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
MESSAGES = CHAT.replace(b"chat/completions", b"messages")


class Logged(Served):
    """A serving process whose log is in *log*."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        flags = ("--models-dir", str(folder), "--models-file", str(folder / "none.yaml"))
        flags += ("--log-format", "json", "--receive-timeout", "1000", "--keep-alive", "1000")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [PILOTLIGHT, "serve", *flags, "--host", "127.0.0.1", "--port", "0"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(),
            )
        output = ""
        while not (url := re.search(r"http://[0-9.]+:[0-9]+", output)):
            line = self.process.stdout.readline()
            assert line, "the server ended"
            output += line
        self.url = url[0]

    def requests(self) -> list[dict[str, Any]]:
        """Return the lines of the access log."""
        lines = map(msgspec.json.decode, self.log.read_bytes().splitlines())
        return [line for line in lines if line["logger"] == "pilotlight.access"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    server = Logged(tmp_path_factory.mktemp("models"))
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        server.process.stdout.close()


@contextmanager
def connected(server: Served) -> Iterator[socket.socket]:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        yield client


def to_the_end(client: socket.socket) -> list[tuple[int, http.client.HTTPMessage, Any]]:
    """Return status, headers and JSON of each response until the connection ends."""
    with client.makefile("rb") as stream:
        found = []
        while line := stream.readline():
            headers = http.client.parse_headers(stream)
            body = stream.read(int(headers["content-length"]))
            found.append((int(line.split()[1]), headers, msgspec.json.decode(body)))
    return found


def assert_malformed(response: tuple[int, http.client.HTTPMessage, Any]) -> None:
    status, headers, body = response
    assert (status, body["error"]["code"]) == (400, "malformed_request")
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"
    assert headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "sent",
    [
        b"G@T /livez HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/7.1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nX-A: a\0b\r\n\r\n",
        CHAT + b"Content-Length: -1\r\n\r\n",
        CHAT + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        CHAT + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        CHAT + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n",
        CHAT + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}!!",
    ],
    ids=[
        "method",
        "version",
        "NUL in a header",
        "negative length",
        "the same length twice",
        "two lengths",
        "chunk size",
        "end of a chunk",
    ],
)
def test_malformed_request_gets_the_documented_error(server: Logged, sent: bytes):
    with connected(server) as client:
        client.sendall(sent)
        (response,) = to_the_end(client)
    assert_malformed(response)
    assert set(response[2]["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "rest",
    [b"Content-Length: -1\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n"],
    ids=["head", "body"],
)
def test_malformed_request_to_anthropics_path_gets_anthropics_error(server: Logged, rest: bytes):
    with connected(server) as client:
        client.sendall(MESSAGES + rest)
        ((status, headers, body),) = to_the_end(client)
    assert (status, body["type"]) == (400, "error")
    assert body["error"]["type"] == "invalid_request_error"
    assert body["request_id"] == headers["request-id"] == headers["x-request-id"]


def test_malformed_request_after_a_good_one_on_its_connection(server: Logged):
    with connected(server) as client:
        client.sendall(GET)
        response = http.client.HTTPResponse(client)
        response.begin()
        assert (response.status, bool(response.read())) == (200, True)
        client.sendall(b"GET\r\n\r\n")
        (refused,) = to_the_end(client)
    assert_malformed(refused)


def test_malformed_request_in_a_pipeline_is_answered_in_its_turn(server: Logged):
    """Two good ones before it are answered first, and what follows it is not."""
    with connected(server) as client:
        client.sendall(GET + GET + b"GET /livez HTTP/1.1\r\nno header\r\n\r\n" + GET)
        *good, refused = to_the_end(client)
    assert [status for status, _, _ in good] == [200, 200]
    assert_malformed(refused)


def test_malformed_body_behind_a_good_request_is_answered_in_its_turn(server: Logged):
    with connected(server) as client:
        client.sendall(GET + CHAT + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n")
        good, refused = to_the_end(client)
    assert good[0] == 200
    assert_malformed(refused)


def test_malformed_request_is_recorded_like_any(server: Logged):
    """In the access log, with the id that its client has, and in the metrics."""
    with connected(server) as client:
        client.sendall(
            b"GET /livez HTTP/1.1\r\nX-Request-Id: mine-1\r\nX-A: b\r\nno header\r\n\r\n"
        )
        ((_, headers, _),) = to_the_end(client)
    assert headers["x-request-id"] == "mine-1"
    deadline = time.monotonic() + PATIENCE
    while not (lines := [one for one in server.requests() if one["request_id"] == "mine-1"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (line,) = lines
    assert (line["method"], line["path"], line["status"]) == ("GET", "/livez", 400)
    assert line["error_code"] == "malformed_request"
    metrics = httpx.get(f"{server.url}/metrics", timeout=PATIENCE).text
    assert re.search(r'\npilotlight_errors_total\{code="malformed_request",[^}]*\} [1-9]', metrics)
