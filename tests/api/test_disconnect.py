"""A client that hangs up frees its slot at the next step, wherever its request is by then."""

import asyncio
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.caller import Call
from tests.conftest import CHAT, FakeService, chat


async def one_slot(start: Callable[..., Any]) -> FakeService:
    """Return a service whose model `m` has one slot and takes no step yet."""
    service = await start(parallel=1)
    service.write(reply="A long answer.")
    service.backend.token_gate.hold()
    return service


async def reached(service: FakeService) -> None:
    """Wait until the engine stands before its next step."""
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)


async def assert_slot_is_free(service: FakeService) -> None:
    """Show that another request gets the one slot without any step being taken."""
    steps = service.engine.stats().steps
    following = Call(service.app, chat(stream=True))
    (first,) = await following.next()
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert service.engine.stats().steps == steps
    await following.hang_up()


async def test_hanging_up_in_the_middle_of_a_stream(start):
    """A stream that is left after two tokens takes no third one."""
    service = await one_slot(start)
    call = Call(service.app, chat(stream=True))
    await call.next()
    service.backend.token_gate.release(2)
    await call.next()
    await reached(service)
    await call.hang_up()
    await assert_slot_is_free(service)
    assert service.engine.stats().completion_tokens == 2


async def test_hanging_up_before_the_first_token(start):
    """A stream that is left when it has a slot and no token yet takes none."""
    service = await one_slot(start)
    call = Call(service.app, chat(stream=True))
    await call.next()
    await reached(service)
    await call.hang_up()
    await assert_slot_is_free(service)
    assert service.engine.stats().completion_tokens == 0


async def test_hanging_up_ends_all_answers(start):
    """Of several answers, those that have a slot and those that wait all end with their client."""
    service = await one_slot(start)
    call = Call(service.app, chat(stream=True, n=3))
    await call.next()
    await reached(service)
    await call.hang_up()
    await assert_slot_is_free(service)
    assert service.engine.stats().queued == 0
    assert service.engine.stats().completion_tokens == 0


async def test_hanging_up_in_the_queue(start):
    """A request that waits for a slot leaves the queue with its client."""
    service = await one_slot(start)
    running = Call(service.app, chat(stream=True))
    await running.next()
    waiting = Call(service.app, chat(stream=True, text="second"))
    async with asyncio.timeout(10):
        while len(service.engine.requests) < 2:  # noqa: ASYNC110 - submitting tells no event
            await asyncio.sleep(0.01)
    await waiting.hang_up()
    await running.hang_up()
    await assert_slot_is_free(service)
    assert service.engine.stats().queued == 0


async def test_hanging_up_during_an_answer_that_is_no_stream(start):
    """A whole response is cancelled too, before anything was sent."""
    service = await one_slot(start)
    call = Call(service.app, chat())
    await reached(service)
    await call.hang_up()
    await assert_slot_is_free(service)


async def test_hanging_up_while_the_model_loads(start):
    """A client that leaves during a load leaves no request behind, and the load goes on."""
    service = await one_slot(start)
    service.backend.load_gate.hold()
    for stream in (False, True):
        call = Call(service.app, chat(stream=stream))
        assert await asyncio.to_thread(service.backend.load_gate.wait_reached)
        await call.hang_up()
    service.backend.load_gate.release()
    following = Call(service.app, chat(stream=True))
    await following.next()
    await following.hang_up()
    assert len(service.backend.loads) == 1
    assert len(service.engine.requests) == 1


@pytest.mark.parametrize(
    "path", [CHAT, "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"]
)
async def test_hanging_up_in_the_middle_of_the_body(start, caplog, path):
    """It is no failure: nothing is logged or loaded, and nothing leaks."""
    service = await start()
    service.write()
    call = Call(service.app, chat(), path=path, whole=False)
    await call.read()
    await call.hang_up()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    assert service.backend.loads == []
    assert service.app.state.service.admission._in_flight == 0


async def test_a_request_that_waits_holds_its_body_once(start):
    """What a request says is kept as it was decoded, and its bytes are not."""
    service = await one_slot(start)
    others = [Call(service.app, chat(stream=True)) for _ in range(2)]  # a slot, and one ahead
    await reached(service)
    for other in others:
        await other.read()
    size = 4_000_000
    waiting = Call(service.app, chat(user="x" * size), pieces=2)
    tracemalloc.start()
    try:
        async with asyncio.timeout(10):
            while not service.app.state.service.leases.waiting("m"):  # noqa: ASYNC110 - to wait tells no event
                await asyncio.sleep(0.01)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < held < 1.5 * size
    for call in (waiting, *others):
        await call.hang_up()


async def test_hanging_up_leaves_no_task(start):
    """Nothing goes on in the background for a client that has gone."""
    service = await one_slot(start)
    await service.client.get("/livez")
    before = asyncio.all_tasks()
    for _ in range(20):
        call = Call(service.app, chat(stream=True))
        await call.next()
        await call.hang_up()
    assert not asyncio.all_tasks() - before


async def test_a_client_that_leaves_before_the_headers(start):
    """A client that leaves while the headers are being sent frees its slot as well."""
    service = await one_slot(start)
    sending = asyncio.Event()

    class Stuck(Call):
        async def _send(self, message: dict[str, Any]) -> None:  # noqa: ARG002 - the override's signature
            sending.set()
            await asyncio.Event().wait()  # as uvicorn does when the socket's buffer is full

    call = Stuck(service.app, chat(stream=True))
    async with asyncio.timeout(10):
        await sending.wait()
    await call.hang_up()
    (model,) = service.app.state.service.pool._models.values()
    assert model.users == 0
    await assert_slot_is_free(service)


async def test_a_slow_reader_that_leaves(start):
    """A client that leaves while a chunk is being sent to it frees its slot as well."""
    service = await one_slot(start)

    class Stuck(Call):
        async def _send(self, message: dict[str, Any]) -> None:
            await super()._send(message)
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()  # as uvicorn does when the socket's buffer is full

    call = Stuck(service.app, chat(stream=True))
    await call.next()
    await call.hang_up()
    await assert_slot_is_free(service)
