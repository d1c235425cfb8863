"""Many requests on the live model: each gets what it would get alone, and nothing stays behind."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.conftest import CHAT

MANY = 80
"""Ten for each slot: most of those at once wait in the queue."""
LONG = 900
"""Tokens of a stream that is left, nearly all that the context has room for: one of a few hundred
may end before the server knows."""
PROMPTS = (
    "What is 2+2?",
    "Count from 1 to 60.",
    "Hello!",
    "Who are you?",
    "Please add 47 and 38.",
    "Tell me a story.",
    "What is the capital of France?",
    "Repeat after me: amber basin cedar",
)


def request(text: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": "spark", "messages": messages, "temperature": 0, "max_tokens": 100, **fields}


async def answer(client: httpx.AsyncClient, text: str) -> dict[str, Any]:
    response = await client.post(CHAT, json=request(text))
    assert response.status_code == 200, response.text
    body = response.json()
    choice = body["choices"][0]
    return {
        "message": choice["message"],
        "finish_reason": choice["finish_reason"],
        "tokens": body["usage"]["completion_tokens"],
    }


def engine(spark: Any) -> Any:
    (entry,) = spark.app.state.service.pool.loaded
    return spark.app.state.service.pool._models[entry].loaded.engine


def leftovers(spark: Any) -> dict[str, int]:
    """Return what a request holds: connections, slots, places in the queue, tasks, descriptors."""
    stats = engine(spark).stats()
    return {
        "connections": len(spark.server_state.connections),
        "busy": stats.slots_busy,
        "queued": stats.queued,
        "tasks": spark.on_loop(lambda: len(asyncio.all_tasks())),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
    }


async def at_rest(spark: Any) -> dict[str, int]:
    """Return the leftovers once no client is connected: a closed connection lingers a moment."""
    async with asyncio.timeout(20):
        while (now := await asyncio.to_thread(leftovers, spark))["connections"]:  # noqa: ASYNC110 - what is awaited is that nothing is left
            await asyncio.sleep(0.02)
    return now


async def settled(spark: Any, before: dict[str, int]) -> None:
    """Wait until nothing is held that was not held *before*.

    Less is no fault: what an earlier test left to the garbage collector may go meanwhile.
    """
    async with asyncio.timeout(20):
        while (now := await at_rest(spark)) and any(now[key] > before[key] for key in now):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)


async def test_eight_at_once_get_what_each_gets_alone(spark: Any):
    """Eight concurrent greedy requests give, token for token, what each gives alone."""
    async with httpx.AsyncClient(base_url=spark.url, timeout=60) as client:
        alone = [await answer(client, text) for text in PROMPTS]
        for _ in range(3):
            together = await asyncio.gather(*(answer(client, text) for text in PROMPTS))
            assert together == alone


@pytest.mark.parametrize("at_once", [1, MANY])
async def test_many_requests_leave_nothing_behind(spark: Any, at_once: int):
    """After 80 requests, one by one or all at once, no slot, task or descriptor is left."""
    async with httpx.AsyncClient(base_url=spark.url, timeout=120) as client:
        await answer(client, "Hello!")
    before = await at_rest(spark)

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=spark.url, timeout=120, limits=limits) as client:
        for _ in range(0, MANY, at_once):
            answers = await asyncio.gather(*(answer(client, "Hello!") for _ in range(at_once)))
            assert all(one["finish_reason"] == "stop" for one in answers)

    await settled(spark, before)


async def test_a_client_that_hangs_up_frees_its_slot(spark: Any):
    """A stream that is left is not generated to its end."""
    before = await at_rest(spark)
    generated = engine(spark).stats().completion_tokens
    asked = request("Hello!", max_tokens=LONG, ignore_eos=True, stream=True)
    body = msgspec.json.encode(asked)

    def leave_in_the_middle() -> None:
        host, port = spark.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            received = b""
            while received.count(b"data: ") < 3:
                received += connection.recv(4096)
        assert received.startswith(b"HTTP/1.1 200")

    await asyncio.to_thread(leave_in_the_middle)

    await settled(spark, before)
    assert engine(spark).stats().completion_tokens - generated < LONG
