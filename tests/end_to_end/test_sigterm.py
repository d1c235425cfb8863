"""SIGTERM under load, a few times; `python -m tests.end_to_end.sigterm` does it often."""

import asyncio
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end import sigterm
from tests.end_to_end.sigterm import Ask, Client, Moment

MOMENTS = (
    Moment(after=0.3, grace=0.2, starting=False),
    Moment(after=0.8, grace=2.0, starting=False),
    Moment(after=0.05, grace=1.0, starting=True),
)


@pytest.mark.parametrize("moment", MOMENTS, ids=["cut short", "let end", "starting"])
async def test_every_client_is_told_something(tmp_path: Path, moment: Moment):
    """Whatever was running, each request gets a response, and the process exits with 0."""
    ended = await sigterm.one_round(sigterm.fake_load(tmp_path), moment, tmp_path, each=1)
    assert ended.held, sigterm.table([ended])
    assert sum(ended.outcomes.values()) >= 16


CHUNK = b'data: {"choices": [{"finish_reason": null}]}\n\n'
LAST = b'data: {"choices": [{"finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def verdict_on(answer: bytes) -> str:
    """Return what a client says of a server that answers so, and then resets the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(answer)
        await writer.drain()
        at_once = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        writer.close()

    said: list[str] = []
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        ask = Ask("chat stream", "/", {"model": "m"}, sigterm.verdict_of_chat)

        def note(verdict: str, _detail: str) -> None:
            said.append(verdict)
            server.close()

        client = Client(ask, f"http://{host}:{port}", keeps=False, note=note)
        await client.run(lambda: True)
    return said[0]


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (STREAM + chunked(CHUNK + LAST) + chunked(b""), "answered"),
        (STREAM + chunked(CHUNK) + chunked(b""), "cut"),
        (STREAM + chunked(CHUNK), "cut"),
        (STREAM + chunked(CHUNK + LAST[:20]) + chunked(b""), "malformed"),
        (b"", "unanswered"),
        (b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\n{}", "malformed"),
        (b"HTTP/1.1 503 No\r\ncontent-length: 9\r\n\r\nBad Gatew", "malformed"),
        (b"HTTP/1.1 503 No\r\ncontent-length: 9\r\n\r\nBad", "cut"),
    ],
)
async def test_what_clients_must_not_see_is_seen(answer: bytes, verdict: str):
    """Answers that are cut, connections that are reset, and what no document describes."""
    assert await verdict_on(answer) == verdict


ERROR = {"error": {"message": "no", "type": "t", "param": None, "code": "c"}}
BROKEN = {"choices": [{"finish_reason": "error"}]}


@pytest.mark.parametrize(
    ("judge", "events", "verdict"),
    [
        (sigterm.verdict_of_chat, [ERROR, BROKEN, "[DONE]"], "ended"),
        (sigterm.verdict_of_chat, [ERROR, BROKEN], "cut"),
        (sigterm.verdict_of_chat, [BROKEN, {"error": {}}, "[DONE]"], "malformed"),
        (sigterm.verdict_of_chat, [], "cut"),
        (sigterm.verdict_of_messages, [{"type": "message_stop"}], "answered"),
        (sigterm.verdict_of_messages, [{"type": "error"} | ERROR], "ended"),
        (sigterm.verdict_of_messages, [{"type": "error"}], "malformed"),
        (sigterm.verdict_of_messages, [{"type": "content_block_stop"}], "cut"),
        (sigterm.verdict_of_responses, [{"type": "response.completed"}], "answered"),
        (sigterm.verdict_of_responses, [{"type": "error"} | ERROR], "ended"),
        (sigterm.verdict_of_responses, [{"type": "response.in_progress"}], "cut"),
    ],
)
def test_streams_are_judged_by_their_ends(judge: Callable[..., str], events, verdict):
    """Each protocol has its own last event."""
    assert judge(events) == verdict
