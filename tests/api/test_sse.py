"""Streams of server-sent events: what they say where they have nothing to say."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from pilotlight.api.http.keep_alive import KeepAlive
from pilotlight.api.http.sse import EventSourceResponse


class Client:
    """One reader of a stream that says each of *messages* when it is let."""

    def __init__(self, messages: list[bytes], idle: KeepAlive | None) -> None:
        self.messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.read: asyncio.Queue[Any] = asyncio.Queue()
        self.closed = asyncio.Event()
        self.gone = asyncio.Event()
        for message in messages:
            self.messages.put_nowait(message)
        response = EventSourceResponse(self._said(), self._close, idle=idle)
        self.task = asyncio.create_task(response({}, self._receive, self._send))

    async def _said(self) -> AsyncGenerator[bytes]:
        while (message := await self.messages.get()) is not None:
            yield message

    async def _close(self) -> None:
        self.closed.set()

    async def _receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.read.put_nowait((message["body"], message["more_body"]))

    async def next(self) -> Any:
        async with asyncio.timeout(10):
            return await self.read.get()


async def test_a_silent_stream_says_that_it_lives():
    """Again and again, before the first message as well as between others, and then it goes on."""
    client = Client([], KeepAlive(b"ping", 0.01))
    assert await client.next() == (b"ping", True)
    assert await client.next() == (b"ping", True)
    client.messages.put_nowait(b"one")
    read = await client.next()
    while read == (b"ping", True):
        read = await client.next()
    assert read == (b"one", True)
    assert await client.next() == (b"ping", True)
    client.messages.put_nowait(None)
    while read != (b"", False):
        read = await client.next()
    await client.task
    assert client.read.empty()


@pytest.mark.parametrize("idle", [None, KeepAlive(b"ping", 1000.0), KeepAlive(b"ping", 0.0)])
async def test_a_stream_that_speaks_says_nothing_else(idle):
    """Messages come as they are, but for empty ones, and the end comes once."""
    client = Client([b"one", b"", b"two"], idle)
    client.messages.put_nowait(None)
    await client.task
    assert [await client.next() for _ in range(3)] == [
        (b"one", True),
        (b"two", True),
        (b"", False),
    ]
    assert client.read.empty()
    assert client.closed.is_set()


async def test_a_client_that_leaves_a_silent_stream_leaves_no_task():
    """The one that looks at the clock ends with the stream."""
    before = asyncio.all_tasks()
    client = Client([], KeepAlive(b"ping", 0.01))
    await client.next()
    client.gone.set()
    await client.task
    assert client.closed.is_set()
    assert asyncio.all_tasks() == before


class Slow(KeepAlive):
    """Takes its time to find its words."""

    def __init__(self) -> None:
        super().__init__(b"ping", 0.01)
        self.asked, self.found = asyncio.Event(), asyncio.Event()

    async def message(self) -> bytes:
        self.asked.set()
        await self.found.wait()
        return await super().message()


async def test_words_that_come_too_late_are_not_said():
    """Loading events do not follow the first words of the response."""
    idle = Slow()
    client = Client([], idle)
    async with asyncio.timeout(10):
        await idle.asked.wait()
    client.messages.put_nowait(b"one")
    assert await client.next() == (b"one", True)
    idle.found.set()
    client.messages.put_nowait(b"two")
    assert await client.next() == (b"two", True)
    client.gone.set()
    await client.task


async def test_a_client_that_reads_nothing_is_not_pinged_again_and_again():
    """One ping waits with what was not taken yet, and no other one is made."""
    pinged, gone, made = asyncio.Event(), asyncio.Event(), 0

    class Counted(KeepAlive):
        async def message(self) -> bytes:
            nonlocal made
            made += 1
            pinged.set()
            return await super().message()

    async def silent() -> AsyncGenerator[bytes]:
        await gone.wait()
        yield b""

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await gone.wait()  # the connection's buffer is full

    response = EventSourceResponse(silent(), _nothing, idle=Counted(b"ping", 0.001))
    task = asyncio.create_task(response({}, receive, send))
    async with asyncio.timeout(10):
        await pinged.wait()
    await asyncio.sleep(0.02)  # as long as twenty pings
    gone.set()
    await task
    assert made == 1


async def _nothing() -> None:
    pass
