"""HTTP/1.0 and HTTP/1.1 on the wire: where an answer ends, and what HEAD and OPTIONS have."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.conftest import CHAT, chat, events
from tests.end_to_end.test_process import Served, served

ASKED = {"temperature": 0, "max_tokens": 20}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the embedded model alone."""
    nowhere: Path = tmp_path_factory.mktemp("models")
    flags = ("--models-dir", str(nowhere), "--models-file", str(nowhere / "none.yaml"))
    with served(*flags, "--preload", "spark") as server:
        yield server


def exchanged(server: Served, sent: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return status line, headers and body as sent, once the server has closed the connection."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(sent)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, dict(re.split(r": ?", line.lower(), maxsplit=1) for line in lines), body


def post(version: str, *, headers: str = "", **fields: object) -> bytes:
    body = msgspec.json.encode(chat("spark", **ASKED, **fields))
    head = (
        f"POST {CHAT} HTTP/{version}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body


def text_of(body: bytes) -> str:
    chunks = [one for one in events(body.decode()) if one != "[DONE]"]
    return "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks)


def test_a_stream_over_http_1_0_ends_with_its_connection(server: Served):
    """Its bytes are the events and nothing else: there is no chunk's size among them."""
    status, headers, body = exchanged(server, post("1.0", stream=True))
    assert status.endswith(" 200 OK")
    assert "transfer-encoding" not in headers
    assert "content-length" not in headers
    assert headers["connection"] == "close"
    assert headers["content-type"].startswith("text/event-stream")
    assert all(not line or line.startswith((b"data: ", b":")) for line in body.split(b"\n"))
    assert body.endswith(b"data: [DONE]\n\n")
    _, chunked, _ = exchanged(
        server, post("1.1", stream=True, headers="Host: x\r\nConnection: close\r\n")
    )
    assert chunked["transfer-encoding"] == "chunked"
    whole = msgspec.json.decode(exchanged(server, post("1.0"))[2])
    assert text_of(body) == whole["choices"][0]["message"]["content"] != ""


@pytest.mark.parametrize("more", ["", "Host: x\r\n", "Connection: keep-alive\r\n"])
def test_a_whole_answer_over_http_1_0_has_its_length(server: Served, more: str):
    status, headers, body = exchanged(server, post("1.0", headers=more))
    assert status.endswith(" 200 OK")
    assert int(headers["content-length"]) == len(body)
    assert "transfer-encoding" not in headers


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /livez HTTP/1.0\r\n\r\n", " 200 OK"),
        (b"GET /nothing HTTP/1.0\r\n\r\n", " 404 Not Found"),
        (b"GET /v1/models HTTP/1.0\r\nHost: x\r\n\r\n", " 200 OK"),
        (b"GET /models HTTP/1.0\r\n\r\n", " 200 OK"),
        (b"GET /metrics HTTP/1.0\r\n\r\n", " 200 OK"),
    ],
)
def test_reading_over_http_1_0(server: Served, sent: bytes, status: str):
    line, headers, body = exchanged(server, sent)
    assert line.endswith(status)
    assert int(headers["content-length"]) == len(body) > 0


def test_an_http_1_0_client_is_not_told_to_continue(server: Served):
    """An interim answer would be the answer to it."""
    status, _, _ = exchanged(server, post("1.0", headers="Expect: 100-continue\r\n"))
    assert status.endswith(" 200 OK")


@pytest.mark.parametrize("path", ["/livez", "/models", "/metrics", "/swagger", "/nothing"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_head_has_no_body(server: Served, path: str, version: str):
    sent = f"HEAD {path} HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n"
    _, headers, body = exchanged(server, sent.encode())
    assert body == b""
    assert int(headers["content-length"]) > 0
    assert "transfer-encoding" not in headers


def test_options_has_no_body(server: Served):
    sent = f"OPTIONS {CHAT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    status, headers, body = exchanged(server, sent.encode())
    assert (status, body) == ("HTTP/1.1 204 No Content", b"")
    assert headers["allow"] == "options, post"
    assert "transfer-encoding" not in headers
