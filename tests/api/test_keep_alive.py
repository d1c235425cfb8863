"""Streams that nothing cuts: what they say while they wait, and what can still be a status."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pilotlight_backend.testing.fake import FakeBackend
from tests.api.caller import Call
from tests.conftest import CHAT, FakeService, chat, events

pytestmark = pytest.mark.slow

COMMENT = b": keep-alive\n\n"
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
HI = [{"role": "user", "content": "hi"}]
STREAMS = [
    (CHAT, {"model": "m", "messages": HI, "stream": True}, COMMENT, b"data: [DONE]\n\n"),
    ("/v1/completions", {"model": "m", "prompt": "hi", "stream": True}, COMMENT, b"[DONE]\n\n"),
    ("/v1/responses", {"model": "m", "input": "hi", "stream": True}, COMMENT, b"}}\n\n"),
    (
        "/v1/messages",
        {"model": "m", "messages": HI, "max_tokens": 50, "stream": True},
        PING,
        b'{"type":"message_stop"}\n\n',
    ),
]
EACH = pytest.mark.parametrize(
    ("path", "body", "ping", "last"), STREAMS, ids=[path for path, *_ in STREAMS]
)
OFTEN = 0.01
"""Seconds between two pings; what is waited for here are the pings."""


class Stream(Call):
    """A request whose answer is read as bytes."""

    def __init__(self, service: FakeService, body: Any, path: str = CHAT) -> None:
        super().__init__(service.app, body, path=path)

    async def read_next(self) -> bytes:
        """Return the next piece of the body; of headers the status is kept."""
        async with asyncio.timeout(10):
            message = await self._sent.get()
            if message["type"] == "http.response.start":
                self.status = message["status"]
                message = await self._sent.get()
        return message["body"]

    async def rest(self) -> bytes:
        """Return what comes until the answer is whole."""
        async with asyncio.timeout(10):
            await self.task
        return b"".join(one.get("body", b"") for one in self._all())

    def _all(self) -> list[Any]:
        return [self._sent.get_nowait() for _ in range(self._sent.qsize())]

    @property
    def is_silent(self) -> bool:
        """Whether neither headers nor anything else were sent."""
        return self._sent.empty() and self.status is None


async def waiting(service: FakeService, requests: int) -> None:
    """Wait until so many requests wait for the model's engine, in its queue or before it."""

    def queued() -> int:
        inside = sum(engine.stats().queued for engine in service.backend.engines)
        return inside + service.app.state.service.leases.waiting("m")

    async with asyncio.timeout(10):
        while queued() < requests:  # noqa: ASYNC110 - the engine is another thread
            await asyncio.sleep(0.001)


@asynccontextmanager
async def busy(start: Any, *, after: float = 0.0, **settings: Any) -> AsyncIterator[FakeService]:
    """Yield a service whose one slot is taken, and the engine's own queue too.

    A request that waits *after* seconds is announced.
    """
    service = await start(**{"parallel": 1, "sse_ping_interval": OFTEN} | settings)
    service.write(reply="Hello.", context_length=200)
    service.app.state.service.generator._announce_after = after
    service.backend.token_gate.hold()
    calls = [Call(service.app, chat()), Call(service.app, chat())]
    await waiting(service, 1)
    yield service
    service.backend.token_gate.release()
    for call in calls:
        await call.task


# ── for a slot, a prompt, and tokens ────────────────────────────────────────────────────────────


@EACH
async def test_a_stream_that_waits_for_a_slot_says_so(start, path, body, ping, last):
    """Its headers are sent, and pings until its turn; then it is as any other one."""
    async with busy(start) as service:
        stream = Stream(service, body, path)
        assert await stream.read_next() == ping
        assert await stream.read_next() == ping
        assert stream.status == 200
        service.backend.token_gate.release()
        rest = await stream.rest()
        said = rest.replace(ping, b"")
        assert said.endswith(last)
        assert b"Hello" in said or b'"H"' in said
        assert said.count(b"message_start") == (2 if path == "/v1/messages" else 0)


async def test_a_stream_in_the_engines_own_queue_says_so(start):
    """One request more than there are slots is with the engine already."""
    service = await start(parallel=1, sse_ping_interval=OFTEN)
    service.write(reply="Hello.")
    service.app.state.service.generator._announce_after = 0.0
    service.backend.token_gate.hold()
    first = Call(service.app, chat())
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    stream = Stream(service, chat(stream=True))
    assert await stream.read_next() == COMMENT
    service.backend.token_gate.release()
    assert (await stream.rest()).endswith(b"data: [DONE]\n\n")
    await first.task


@EACH
async def test_a_stream_that_waits_for_tokens_says_so(start, path, body, ping, last):
    """Between its first words and the next, as for a long prompt."""
    service = await start(sse_ping_interval=OFTEN)
    service.write(reply="Hello.")
    service.backend.token_gate.hold()
    stream = Stream(service, body, path)
    said = b""
    while said.count(ping) < 2:
        said += await stream.read_next()
    assert stream.status == 200
    service.backend.token_gate.release()
    assert (await stream.rest()).endswith(last)


@pytest.mark.parametrize(
    ("reply", "fields"),
    [
        ("Hello", {"stop": ["Hello!"]}),
        # With a bias no token is forced: a call would come at once behind its marker.
        (
            '<tool_call>\n{"name": "f", "arguments": {}}',
            {
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "logit_bias": {"0": -0.01},
            },
        ),
    ],
)
async def test_tokens_that_are_held_back_are_silence(start, reply: str, fields: dict[str, Any]):
    """The beginning of a stop, and a call that is no call yet, show nothing."""
    service = await start(sse_ping_interval=OFTEN)
    service.write(reply=reply, **({"chat_template": TOOLS} if "tools" in fields else {}))
    await service.ask(max_tokens=1)
    gate = service.backend.token_gate
    gate.hold()
    stream = Stream(service, chat(stream=True, **fields))
    assert b'"role":"assistant"' in await stream.read_next()
    for _ in range(4):
        assert await stream.read_next() == COMMENT
        assert await asyncio.to_thread(gate.wait_reached)
        gate.release(1)
    assert await asyncio.to_thread(gate.wait_reached)
    assert await stream.read_next() == COMMENT
    gate.release()
    assert (await stream.rest()).endswith(b"data: [DONE]\n\n")


TOOLS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if tools %}<tools>{{ tools | tojson }}</tools>"
    '<tool_call>\n{"name": "x", "arguments": {}}\n</tool_call>{% endif %}'
)


async def test_no_interval_is_no_ping(start):
    """The headers wait for the slot then, as every early error does."""
    async with busy(start, sse_ping_interval=0.0) as service:
        stream = Stream(service, chat(stream=True))
        await waiting(service, 2)
        assert stream.is_silent
        service.backend.token_gate.release()
        rest = await stream.rest()
        assert b"keep-alive" not in rest
        assert rest.endswith(b"data: [DONE]\n\n")


async def test_a_short_wait_is_not_announced(start):
    """Whatever goes wrong by then has its own status."""
    async with busy(start, after=1000.0) as service:
        stream = Stream(service, chat(stream=True))
        await waiting(service, 2)
        assert stream.is_silent
        await stream.hang_up()


# ── what can still be a status, and what cannot ─────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"text": "x" * 500}, "context_length_exceeded"),
        ({"logit_bias": {"99999999": 1.0}}, "invalid_request_error"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "f", "schema": {"$ref": "x"}},
                }
            },
            "invalid_request_error",
        ),
    ],
)
async def test_what_is_wrong_with_a_request_that_waits_is_a_status(start, fields, code: str):
    """It is checked before its headers are sent, while it waits."""
    async with busy(start) as service:
        stream = Stream(service, chat(stream=True, **fields))
        body = await stream.read_next()
        assert (stream.status, b'"code":"%b"' % code.encode() in body) == (400, True)
        assert service.app.state.service.leases.waiting("m") == 0


async def test_a_full_queue_is_a_status(start):
    async with busy(start, max_queue=1) as service:
        stream = Stream(service, chat(stream=True))
        await stream.read_next()
        assert stream.status == 429


@pytest.mark.parametrize(("path", "body"), [(path, body) for path, body, _, _ in STREAMS])
async def test_a_model_that_loads_is_a_status(start, path, body):
    """Its 503 has headers that clients obey, so nothing is sent before."""
    service = await start(hold=0.2, sse_ping_interval=OFTEN)
    service.write()
    service.app.state.service.generator._announce_after = 0.0
    service.backend.load_gate.hold()
    response = await service.post(body, path=path)
    assert response.status_code == 503
    assert "retry-after" in response.headers


async def test_a_wait_that_is_over_ends_the_stream(start):
    """The headers are gone: `request_timeout` is an error in the stream, and `[DONE]`."""
    async with busy(start, request_timeout=0.3) as service:
        stream = Stream(service, chat(stream=True))
        assert await stream.read_next() == COMMENT
        said = events((await stream.rest()).decode())
        codes = [one["error"]["code"] for one in said if "error" in one]
        assert codes == ["time_limit_exceeded"]
        assert said[-1] == "[DONE]"
        assert service.app.state.service.leases.waiting("m") == 0


async def test_an_engine_that_dies_ends_the_streams_that_wait(start):
    """A request in the queue gets the error in its stream."""
    service = await start(parallel=1, sse_ping_interval=OFTEN)
    service.write(reply="Hello.", fail_after=1)
    service.app.state.service.generator._announce_after = 0.0
    service.backend.token_gate.hold()
    first = Call(service.app, chat())
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    stream = Stream(service, chat(stream=True))
    assert await stream.read_next() == COMMENT
    service.backend.token_gate.release()
    said = events((await stream.rest()).decode())
    assert [one["error"]["code"] for one in said if "error" in one] == ["inference_error"]
    assert said[-1] == "[DONE]"
    await first.task


@pytest.mark.parametrize(("path", "body"), [(path, body) for path, body, _, _ in STREAMS])
async def test_a_client_that_leaves_while_it_waits_leaves_nothing(start, path, body):
    async with busy(start) as service:
        before = asyncio.all_tasks()
        stream = Stream(service, body, path)
        await stream.read_next()
        assert stream.status == 200
        await stream.hang_up()
        assert service.app.state.service.leases.waiting("m") == 0
        assert asyncio.all_tasks() == before
        assert service.app.state.service.admission._in_flight == 2


async def test_a_shutdown_ends_the_streams_that_wait(start):
    """Each with an error in the stream, since its headers are gone."""
    async with busy(start) as service:
        streams = [Stream(service, chat(stream=True)) for _ in range(3)]
        for stream in streams:
            assert await stream.read_next() == COMMENT
        await service.app.state.service.drain(0)
        for stream in streams:
            said = events((await stream.rest()).decode())
            errors = [one["error"]["code"] for one in said if "error" in one]
            assert errors in (["shutting_down"], ["inference_error"])
            assert said[-1] == "[DONE]"
        assert service.app.state.service.admission._in_flight == 0


# ── with the loading shown ──────────────────────────────────────────────────────────────────────


async def test_a_shown_load_goes_on_as_pings(start):
    """One mechanism: how far the model is until the answer begins, pings from then on."""
    backend = FakeBackend()
    service = await start(backend=backend, sse_ping_interval=OFTEN)
    service.write(reply="Hello.")
    backend.load_gate.hold()
    backend.token_gate.hold()
    options = {"include_loading": "comments"}
    stream = Stream(service, chat(stream=True, stream_options=options))
    assert (await stream.read_next()).startswith(b": m loading 0%")
    backend.load_gate.release()
    said = b""
    while said.count(COMMENT) < 2:
        said += await stream.read_next()
    assert b" loading " not in said.partition(b'"role":"assistant"')[2]
    backend.token_gate.release()
    assert (await stream.rest()).endswith(b"data: [DONE]\n\n")


async def test_a_shown_load_needs_no_pings(start):
    """The request asks for them; the setting switches off the pings alone."""
    service = await start(sse_ping_interval=0.0)
    service.write(reply="Hello.")
    service.backend.load_gate.hold()
    options = {"include_loading": True}
    stream = Stream(service, chat(stream=True, stream_options=options))
    assert (await stream.read_next()).startswith(b": m loading 0%")
    service.backend.load_gate.release()
    rest = await stream.rest()
    assert b"keep-alive" not in rest
    assert rest.endswith(b"data: [DONE]\n\n")
