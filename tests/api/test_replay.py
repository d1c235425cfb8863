"""A stream whose connection broke is resumed: nothing is lost, doubled or left behind."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pilotlight.api.http.replay import EventBuffer, Replays
from pilotlight.config import Secret, Settings
from pilotlight.server.app import create_app
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
from tests.api.caller import Call
from tests.conftest import CHAT, FakeService, chat, events
from tests.logs import logged

STREAM = "/v1/stream"
MIB = 1 << 20
PROMPT = {"model": "m", "prompt": "hi", "stream": True}
BODIES = {
    CHAT: chat(stream=True, stream_options={"include_usage": True}),
    "/v1/completions": PROMPT,
    "/v1/responses": {"model": "m", "input": "hi", "stream": True},
    "/v1/messages": chat(stream=True, max_tokens=100),
}
ID = re.compile(rb"^id: (.+)\n", re.MULTILINE)


class Timer:
    """A call in so many *seconds*, one of those that are *running*."""

    def __init__(self, running: list["Timer"], seconds: float, call: Callable[[], None]) -> None:
        self.seconds = seconds
        self.call = call
        self._running = running
        running.append(self)

    def cancel(self) -> None:
        if self in self._running:
            self._running.remove(self)


class Timers:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.running: list[Timer] = []

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        return Timer(self.running, seconds, call)

    def pass_by(self) -> None:
        """Let the time of every timer pass."""
        for timer in tuple(self.running):
            timer.cancel()
            timer.call()


class Client(Call):
    """A client that reads bytes, and leaves without waiting for what the server does then."""

    async def piece(self) -> bytes:
        """Return the next bytes of the body; none at its end."""
        async with asyncio.timeout(10):
            message = await self._sent.get()
            if message["type"] == "http.response.start":
                self.status = message["status"]
                message = await self._sent.get()
        return message["body"]

    async def until(self, count: int) -> bytes:
        """Return the body up to the *count*-th event, or a little more."""
        read = b""
        while len(ID.findall(read)) < count:
            read += await self.piece()
        return read

    async def rest(self) -> bytes:
        """Return the body to its end."""
        read = b""
        while piece := await self.piece():
            read += piece
        return read

    async def to_the_end(self) -> bytes:
        """Return the body to its end, once the server has forgotten the connection."""
        read = await self.rest()
        async with asyncio.timeout(10):
            await self.task
        return read

    def leave(self) -> None:
        self._gone.set()


class Resuming(Client):
    """A client that resumes a stream after the event *after*."""

    def __init__(self, service: FakeService, after: str, **headers: str) -> None:
        super().__init__(
            service.app, None, {"last-event-id": after, **headers}, STREAM, method="GET"
        )


async def replaying(
    start: Any, timers: Timers | None = None, max_bytes: int = 4 * MIB, **settings: Any
) -> FakeService:
    """Return a service with one slot that keeps streams, by *timers* if they are given."""
    service = await start(
        parallel=1,
        stream_replay=30,
        stream_replay_bytes=str(max_bytes),
        **({"sse_ping_interval": 0} | settings),
    )
    service.write(reply="One two three four.")
    if timers is not None:
        service.app.state.replays.later = timers.later
    return service


def ids(stream: bytes) -> list[str]:
    return [one.decode() for one in ID.findall(stream)]


def alike(stream: bytes) -> bytes:
    """Return *stream* without ids, and without what is new in every response."""
    stream = ID.sub(b"", stream)
    stream = re.sub(rb"^: server-timing.*\n\n", b"", stream, flags=re.MULTILINE)
    stream = re.sub(rb"[0-9a-f]{24,}", b"ID", stream)
    return re.sub(rb'"(created|created_at|completed_at)":[0-9]+', rb'"\1":0', stream)


def cut(stream: bytes, count: int) -> bytes:
    """Return *stream* to the end of its *count*-th event."""
    blocks = re.findall(rb".+?\n\n", stream, re.DOTALL)
    last = [at for at, block in enumerate(blocks) if ID.search(block)][count - 1]
    return b"".join(blocks[: last + 1])


async def settled(service: FakeService) -> None:
    """Wait until no request is in flight."""
    assert await service.app.state.service.admission.drained(10)


async def assert_gone(service: FakeService, after: str, **headers: str) -> None:
    """Show that the stream with the event *after* cannot be resumed."""
    response = await service.client.get(STREAM, headers={"last-event-id": after, **headers})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "stream_not_found")
    assert after in response.json()["error"]["message"]


# ── what a resumed stream says ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", BODIES)
async def test_without_the_setting_streams_have_no_ids(start, path):
    """The bytes are those of a server that keeps nothing, and the same but for ids with it."""
    plain = await start()
    plain.write(reply="One two three four.")
    without = (await plain.post(BODIES[path], path)).content
    assert b"id: " not in without
    service = await replaying(start)
    with_ids = (await service.post(BODIES[path], path)).content
    assert alike(with_ids) == alike(without)
    names = [one.rpartition(":")[0] for one in ids(with_ids)]
    assert len(names) == len(events(with_ids.decode())) > 5
    assert len(set(names)) == 1


@pytest.mark.parametrize("path", BODIES)
async def test_a_whole_stream_is_resumed_after_any_event(start, path):
    """What follows is equal to the byte; nothing follows the last event."""
    service = await replaying(start)
    stream = (await service.post(BODIES[path], path)).content
    for count, after in enumerate(ids(stream)[:-1], 1):
        rest = await service.client.get(STREAM, headers={"last-event-id": after})
        assert rest.status_code == 200
        assert rest.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert cut(stream, count) + rest.content == stream
    last = await service.client.get(STREAM, params={"last_event_id": ids(stream)[-1]})
    assert (last.status_code, last.content) == (204, b"")


@pytest.mark.parametrize("path", BODIES)
async def test_a_hang_up_at_any_event(start, path):
    """The client leaves while the stream runs, and gets the rest, as if it had stayed."""
    service = await replaying(start)
    for _ in range(2):  # the second has its prompt from the cache, as those that follow
        whole = (await service.post(BODIES[path], path)).content
    for count in range(1, len(ids(whole))):
        service.backend.token_gate.hold()
        client = Client(service.app, BODIES[path], path=path)
        reading = asyncio.create_task(client.until(count))
        while not reading.done():
            service.backend.token_gate.release(1)
            await asyncio.sleep(0)
        had = cut(await reading, count)
        client.leave()
        service.backend.token_gate.release()
        rest = await Resuming(service, ids(had)[-1]).rest()
        assert alike(had + rest) == alike(whole)
        await client.task


async def test_a_hang_up_while_a_token_is_generated(start):
    """The step goes on, and the one who comes back before its end reads on as it happens."""
    service = await replaying(start)
    service.backend.token_gate.hold()
    client = Client(service.app, BODIES[CHAT])
    had = await client.until(1)
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    client.leave()
    again = Resuming(service, ids(had)[-1])
    await again.read()
    service.backend.token_gate.release(1)
    had += await again.until(1)
    assert not client.task.done()
    service.backend.token_gate.release()
    had += await again.rest()
    text = "".join(
        one["choices"][0]["delta"].get("content", "")
        for one in events(had.decode())[:-1]
        if one["choices"]
    )
    assert text == "One two three four."
    await client.task


async def test_a_client_may_break_off_several_times(start):
    """Also in the middle of an event, which it drops and gets again."""
    service = await replaying(start)
    service.backend.token_gate.hold()
    client = Client(service.app, BODIES[CHAT])
    had = await client.until(1)
    client.leave()
    for _ in range(3):
        service.backend.token_gate.release(1)
        client_again = Resuming(service, ids(had)[-1])
        had += cut(await client_again.until(1), 1)
        client_again.leave()
        await client_again.task
    service.backend.token_gate.release()
    had += await Resuming(service, ids(had)[-1]).rest()
    whole = await service.client.get(STREAM, headers={"last-event-id": ids(had)[0]})
    assert had.endswith(whole.content)
    assert ids(had) == sorted(set(ids(had)), key=lambda one: int(one.rpartition(":")[2]))


async def test_the_later_of_two_readers_takes_over(start):
    """The stream of the earlier one ends, and nothing is cancelled."""
    service = await replaying(start)
    service.backend.token_gate.hold()
    first = Client(service.app, BODIES[CHAT])
    had = await first.until(1)
    second = Resuming(service, ids(had)[-1])
    assert await first.rest() == b""
    third = Resuming(service, ids(had)[-1])
    assert await second.rest() == b""
    await second.task
    service.backend.token_gate.release()
    assert events((await third.rest()).decode())[-1] == "[DONE]"
    await first.task


async def test_a_reader_that_does_not_read_keeps_nothing_from_the_one_that_takes_over(start):
    """The socket of a phone that changed its network is full and never closed."""
    timers = Timers()
    service = await replaying(start, timers)

    class Stuck(Client):
        async def _send(self, message: dict[str, Any]) -> None:
            await super()._send(message)
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

    service.backend.token_gate.hold()
    stuck = Stuck(service.app, BODIES[CHAT])
    had = await stuck.until(1)
    again = Resuming(service, ids(had)[-1])
    await again.read()
    service.backend.token_gate.release()
    rest = await again.to_the_end()
    assert events(rest.decode())[-1] == "[DONE]"
    await settled(service)
    timers.pass_by()
    await assert_gone(service, ids(had)[-1])
    stuck.leave()
    await stuck.task


async def test_a_stream_that_breaks_is_resumed_to_its_error(start):
    """The error is an event as any other."""
    service = await replaying(start)
    service.write("breaks", reply="One two.", fail_after=2)
    stream = (await service.post(chat("breaks", stream=True))).content
    rest = await service.client.get(STREAM, headers={"last-event-id": ids(stream)[0]})
    assert stream.endswith(rest.content)
    assert events(rest.text)[-3]["error"]["code"] == "inference_error"


@pytest.mark.parametrize(("path", "ping"), [(CHAT, b": keep-alive"), ("/v1/messages", b"ping")])
async def test_a_silent_stream_is_kept_open_when_resumed(start, path, ping):
    """By what its endpoint sends, which is no event of the stream."""
    service = await replaying(start, sse_ping_interval=0.01)
    service.backend.token_gate.hold()
    client = Client(service.app, BODIES[path], path=path)
    had = await client.until(1)
    client.leave()
    again = Resuming(service, ids(had)[-1])
    silent = await again.piece()
    assert ping in silent
    assert ids(silent) == []
    service.backend.token_gate.release()
    end = await again.rest()
    assert b"message_stop" in end or b"[DONE]" in end
    await client.task


async def test_a_look_takes_the_stream_from_no_client(start):
    """HEAD has the headers of GET; the client that is connected reads on."""
    service = await replaying(start)
    service.backend.token_gate.hold()
    client = Client(service.app, BODIES[CHAT])
    had = await client.until(1)
    look = await service.client.head(STREAM, headers={"last-event-id": ids(had)[0]})
    assert (look.status_code, look.content) == (200, b"")
    assert look.headers["content-type"] == "text/event-stream; charset=utf-8"
    service.backend.token_gate.release()
    assert events((await client.to_the_end()).decode())[-1] == "[DONE]"
    gone = await service.client.head(STREAM, headers={"last-event-id": "0" * 32 + ":0"})
    assert gone.status_code == 404


# ── how long it is kept ─────────────────────────────────────────────────────────────────────────


async def test_nobody_comes_back(start):
    """After the time the generation is cancelled, and its slot is free without another step."""
    timers = Timers()
    service = await replaying(start, timers)
    service.backend.token_gate.hold()
    client = Client(service.app, BODIES[CHAT])
    had = await client.until(1)
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    client.leave()
    await Resuming(service, ids(had)[-1]).hang_up()
    assert not client.task.done()
    (timer,) = timers.running
    assert timer.seconds == 30
    timers.pass_by()
    async with asyncio.timeout(10):
        await client.task
    assert service.engine.stats().completion_tokens == 0
    await settled(service)
    await assert_gone(service, ids(had)[-1])
    assert len(service.app.state.replays) == 0
    service.backend.token_gate.release()
    assert (await service.ask())["choices"][0]["message"]["content"] == "One two three four."


async def test_a_stream_that_has_ended_is_kept_as_long(start):
    """Its client may have missed the last events; a resumption restarts the time."""
    timers = Timers()
    service = await replaying(start, timers)
    stream = (await service.post(BODIES[CHAT])).content
    await settled(service)
    for _ in range(2):
        (timer,) = timers.running
        assert await Resuming(service, ids(stream)[0]).to_the_end() in stream
        assert timers.running != [timer]
    timers.pass_by()
    await assert_gone(service, ids(stream)[0])
    assert len(service.app.state.replays) == 0


@pytest.mark.parametrize("path", BODIES)
async def test_a_hang_up_before_the_first_event_cancels(start, path):
    """In the queue a request leaves with its client, also when its headers are sent."""
    timers = Timers()
    service = await replaying(start, timers, sse_ping_interval=5.0)
    service.app.state.service.generator._announce_after = 0
    service.backend.token_gate.hold()
    running = Client(service.app, BODIES[CHAT])
    had = await running.until(1)
    waiting = Client(service.app, BODIES[path], path=path)
    assert ids(await waiting.piece()) == []
    assert waiting.status == 200
    await waiting.hang_up()
    assert timers.running == []
    assert len(service.app.state.replays) == 1
    service.backend.token_gate.release()
    had += await running.rest()
    assert events(had.decode())[-1] == "[DONE]"


async def test_the_buffer_is_full_without_a_client(start):
    """A stream without a reader is cancelled, and holds no more than its buffer."""
    service = await replaying(start, max_bytes=3000)
    service.write("long", reply="word " * 400)
    service.backend.token_gate.hold()
    client = Client(service.app, chat("long", stream=True))
    had = await client.until(1)
    client.leave()
    async with asyncio.timeout(10):
        while not client.task.done():
            service.backend.token_gate.release(1)
            await asyncio.sleep(0.001)
    assert 0 < service.backend.engines[-1].stats().completion_tokens < 400
    await assert_gone(service, ids(had)[-1])


async def test_a_long_stream_keeps_its_latest_events(start):
    """Half a buffer of them; from earlier ones nothing can be resumed."""
    service = await replaying(start, max_bytes=3000)
    service.write("long", reply="word " * 400)
    client = Client(service.app, chat("long", stream=True, max_tokens=400))
    stream = await client.rest()
    (recording,) = service.app.state.replays._recordings.values()
    assert recording.buffer.size < 3000
    assert len(stream) > 50_000
    await assert_gone(service, ids(stream)[0])
    rest = await service.client.get(STREAM, headers={"last-event-id": ids(stream)[-4]})
    assert stream.endswith(rest.content)
    assert len(ids(rest.content)) == 3


async def test_a_shutdown_does_not_wait_for_clients_that_are_gone(start):
    """They cannot come back to this process; those that are connected have the grace period."""
    service = await replaying(start)
    service.write(reply="One two three four.")
    service.backend.token_gate.hold()
    gone = Client(service.app, BODIES[CHAT])
    had = await gone.until(1)
    gone.leave()
    await Resuming(service, ids(had)[-1]).hang_up()
    service.app.state.service.admission.close()
    async with asyncio.timeout(10):
        await gone.task
    await settled(service)
    assert len(service.app.state.replays) == 0


async def test_a_hang_up_during_the_shutdown_cancels(start):
    """As without the setting."""
    service = await replaying(start)
    service.backend.token_gate.hold()
    client = Client(service.app, BODIES[CHAT])
    await client.until(1)
    service.app.state.service.admission.close()
    await client.hang_up()
    await settled(service)


@pytest.mark.slow
@pytest.mark.parametrize("gone", [False, True])
async def test_the_time_limit_of_the_request_holds(start, gone):
    """With a client or without, the stream ends with the error, which can be resumed to."""
    service = await replaying(start, request_timeout=0.5)
    service.backend.token_gate.hold()
    client = Client(service.app, BODIES[CHAT])
    had = await client.until(1)
    if gone:
        client.leave()
    async with asyncio.timeout(10):
        await client.task
    await settled(service)
    rest = await service.client.get(STREAM, headers={"last-event-id": ids(had)[-1]})
    error, last, done = events(rest.text)
    assert error["error"]["code"] == "time_limit_exceeded"
    assert (last["choices"][0]["finish_reason"], done) == ("error", "[DONE]")
    if not gone:
        assert await client.rest() == rest.content


async def test_a_cancelled_connection_leaves_nothing(start):
    """As uvicorn ends the requests that outlast a shutdown."""
    service = await replaying(start)
    service.backend.token_gate.hold()
    await service.client.get("/livez")
    before = asyncio.all_tasks()
    client = Client(service.app, BODIES[CHAT])
    await client.until(1)
    client.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client.task
    await settled(service)
    assert len(service.app.state.replays) == 0
    assert not asyncio.all_tasks() - before


# ── whose it is ─────────────────────────────────────────────────────────────────────────────────


async def test_another_key_does_not_find_it(start):
    """Neither to read nor to end it, and the error is that of a stream that never was."""
    service = await replaying(start, api_keys=Secret("a:key-a,b:key-b"))
    mine, other = {"authorization": "Bearer key-a"}, {"authorization": "Bearer key-b"}
    stream = (await service.post(BODIES[CHAT], **mine)).content
    after = ids(stream)[0]
    await assert_gone(service, after, **other)
    stopped = await service.client.delete(STREAM, headers={"last-event-id": after, **other})
    assert stopped.status_code == 404
    unknown = "0" * 32 + ":0"
    texts = [
        (await service.client.get(STREAM, headers={"last-event-id": one, **other})).text
        for one in (after, unknown)
    ]
    assert texts[0].replace(after, unknown) == texts[1]
    assert (await service.client.get(STREAM, headers={"last-event-id": after})).status_code == 401
    assert await Resuming(service, after, **mine).rest() in stream


@pytest.mark.parametrize("after", ["0", "x" * 400, "0" * 32, "0" * 32 + ":-1", "é:1"])
async def test_ids_that_are_none(start, after):
    """A 404; the message has no more of the id than one reads."""
    service = await replaying(start)
    response = await service.client.get(STREAM, params={"last_event_id": after})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "stream_not_found")
    assert len(response.json()["error"]["message"]) < 250


async def test_an_event_that_is_still_to_come(start):
    service = await replaying(start)
    stream = (await service.post(BODIES[CHAT])).content
    await assert_gone(service, ids(stream)[0].partition(":")[0] + ":999")


async def test_no_id(start):
    """A 400 that names the header."""
    service = await replaying(start)
    for method in ("GET", "DELETE"):
        response = await service.client.request(method, STREAM)
        assert (response.status_code, response.json()["error"]["param"]) == (400, "Last-Event-ID")


async def test_the_methods_of_the_path(service):
    response = await service.client.options(STREAM)
    assert response.headers["allow"] == "DELETE, GET, HEAD, OPTIONS"
    assert (await service.post({}, STREAM)).status_code == 405


async def test_a_server_that_keeps_no_streams_says_so(service):
    response = await service.client.get(STREAM, headers={"last-event-id": "0" * 32 + ":1"})
    assert response.status_code == 404
    assert "--stream-replay" in response.json()["error"]["message"]


async def test_a_stream_is_stopped(start):
    """Its slot is free at once, with a client or without."""
    service = await replaying(start)
    for leaves in (True, False):
        service.backend.token_gate.hold()
        client = Client(service.app, BODIES[CHAT])
        had = await client.until(1)
        if leaves:
            client.leave()
        stopped = await service.client.delete(STREAM, headers={"last-event-id": ids(had)[-1]})
        assert (stopped.status_code, stopped.content) == (204, b"")
        async with asyncio.timeout(10):
            await client.task
        await settled(service)
        await assert_gone(service, ids(had)[-1])


# ── what is recorded ────────────────────────────────────────────────────────────────────────────


async def test_a_resumed_request_counts_once(start):
    """One request of the caller's limit, one generation, and a line for each connection."""
    service = await replaying(start, requests_per_minute=1)
    with logged() as lines:
        service.backend.token_gate.hold()
        client = Client(service.app, BODIES[CHAT])
        had = await client.until(1)
        client.leave()
        again = Resuming(service, ids(had)[-1])
        await again.read()
        service.backend.token_gate.release()
        await again.rest()
        await asyncio.gather(client.task, again.task)
    by_method = {line["method"]: line for line in lines.access}
    assert len(lines.access) == 2
    assert by_method["POST"]["client_gone"] is True
    assert by_method["POST"]["completion_tokens"] > 0
    assert "resumed" not in by_method["POST"]
    assert by_method["GET"]["resumed"] is True
    assert by_method["GET"]["message"] == "GET /v1/stream 200, resumed"
    assert "completion_tokens" not in by_method["GET"]
    assert (await service.post(BODIES[CHAT])).status_code == 429
    text = (await service.client.get("/metrics")).text
    assert re.search(r'^pilotlight_requests_total{.*outcome="stop".*} 1\.0$', text, re.MULTILINE)


# ── the buffer ──────────────────────────────────────────────────────────────────────────────────


def test_a_buffer_keeps_comments_and_numbers_events():
    """A comment takes a number and has no id, so that a resumed stream has it where it was."""
    buffer = EventBuffer("s", 1000)
    buffer.append(b": one\n\nevent: a\ndata: 1\n\n")
    buffer.append(b"")
    buffer.append(b"data: 2\n\n")
    assert (buffer.first, buffer.end) == (0, 3)
    assert buffer.since(0) == (b": one\n\nid: s:1\nevent: a\ndata: 1\n\nid: s:2\ndata: 2\n\n")
    assert buffer.since(2) == b"id: s:2\ndata: 2\n\n"
    assert (buffer.since(3), buffer.size) == (b"", len(buffer.since(0)))


def test_a_buffer_drops_what_was_sent_and_not_more_than_half():
    buffer = EventBuffer("s", 60)
    for _ in range(3):
        buffer.append(b": 34567890123456789\n\n")
    assert buffer.full
    buffer.trim(0)
    assert buffer.first == 0
    buffer.trim(3)
    assert (buffer.first, buffer.size, buffer.full) == (2, 21, False)


async def test_a_reader_that_was_replaced_drops_nothing():
    """It is still sending when a client comes that is further back."""
    recording = Replays(30, 100).record("a", b"")
    first = recording.attach(-1)
    for _ in range(5):
        recording.append(b"data: 1\n\n")
    sending = first.messages()
    whole = await anext(sending)
    second = recording.attach(0)
    with pytest.raises(StopAsyncIteration):
        await anext(sending)
    assert whole.endswith(second.take())
    assert len(ids(whole)) == 5
    recording.expire()


async def test_ended_streams_have_a_bound_together():
    """The oldest are forgotten, but for one that is just being read."""
    timers = Timers()
    replays = Replays(30, 1000, timers.later)
    recordings = [replays.record("a", b"") for _ in range(40)]
    reader = recordings[0].attach(-1)
    with recordings[0].reading(reader):
        for recording in recordings:
            recording.append(b"data: " + b"x" * 900 + b"\n\n")
            recording.finish()
        kept = [recording for recording in recordings if not recording.expired]
        assert kept == [recordings[0], *recordings[-len(kept) + 1 :]]
        assert 14_000 < sum(one.buffer.size for one in kept) <= 16_000
    timers.pass_by()
    assert (len(replays), replays._ended_size) == (0, 0)


async def test_a_response_that_never_begins_keeps_nothing():
    """As of a request that is cancelled between its look-up and its headers."""
    timers = Timers()
    replays = Replays(30, 1000, timers.later)
    recording = replays.record("a", b"")
    recording.append(b"data: 1\n\n")
    recording.attach(0)
    timers.pass_by()
    assert len(replays) == 0


# ── over a socket ───────────────────────────────────────────────────────────────────────────────


def test_a_connection_that_is_closed(tmp_path, serve):
    """Uvicorn notices, the request goes on, and the next connection has the rest."""
    FakeModel(reply="One two three four.").write(tmp_path / "m.fake")
    backend = FakeBackend()
    backend.token_gate.hold()
    settings = Settings(models_dir=tmp_path, models_file=tmp_path / "none", stream_replay=30)
    server = serve(create_app(settings, backends={"fake": backend}))
    with httpx.Client(base_url=server.url, timeout=10) as client:
        with client.stream("POST", CHAT, json=BODIES[CHAT]) as response:
            had = next(response.iter_raw())
        after = {"last-event-id": ids(had)[-1]}
        with client.stream("GET", STREAM, headers=after) as response:
            backend.token_gate.release()
            rest = response.read()
    numbers = [int(one.rpartition(":")[2]) for one in ids(had + rest)]
    assert numbers == sorted(set(numbers))
    assert events((had + rest).decode())[-1] == "[DONE]"
    assert server.on_loop(lambda: server.app.state.service.admission._in_flight) == 0
