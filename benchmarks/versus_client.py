"""A client of OpenAI's endpoints over a bare socket, which costs little CPU beside the server."""

import asyncio
import itertools
import json
import time
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from benchmarks.raw_http import post

_LIMIT = 1 << 24


class Heard(Struct, frozen=True):
    """What one stream brought; times are seconds since its request was sent."""

    first_token: float
    ended: float
    longest_gap: float
    """The longest time between two tokens."""
    prompt_tokens: int
    completion_tokens: int


class Refused(Exception):
    """The server answered with an error; the message is its body."""


async def stream(port: int, path: str, body: Mapping[str, Any]) -> Heard:
    """Send *body* with `stream`, and read the answer to its end. Raises `Refused`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_LIMIT)
    try:
        whole = {**body, "stream": True, "stream_options": {"include_usage": True}}
        began = time.perf_counter()
        writer.write(post(path, whole))
        status = (await reader.readline()).split(b" ")
        if status[1:2] != [b"200"]:
            raise Refused((await reader.read()).decode("utf-8", "replace"))
        arrivals: list[float] = []
        usage: dict[str, int] = {}
        async for line in reader:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if _has_token(event):
                arrivals.append(time.perf_counter() - began)
            usage = event.get("usage") or usage
        ended = time.perf_counter() - began
    finally:
        writer.close()
    if not arrivals:
        raise Refused("the stream has no token")
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    return Heard(
        arrivals[0],
        ended,
        max(gaps, default=0.0),
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
    )


def _has_token(event: Mapping[str, Any]) -> bool:
    """Return whether an event brings text, reasoning or a part of a tool call."""
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        if choice.get("text") or any(
            delta.get(key) for key in ("content", "reasoning_content", "tool_calls")
        ):
            return True
    return False
