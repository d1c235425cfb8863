"""A request whose time is over ends, wherever it is by then, and frees its slot."""

import asyncio
from typing import Any

import pytest

from tests.api.caller import Call
from tests.conftest import CHAT, FakeService, chat, events

pytestmark = pytest.mark.slow

SHORT = 0.3
"""Seconds: what is limited here waits for an event that never comes."""
LONGER = 1.0
"""The same, where something has to be reached before."""
PROMPT = {"model": "m", "prompt": "hi"}
INPUT = {"model": "m", "input": "hi"}
MESSAGES = {**chat(), "max_tokens": 100}
STATUS = 504
CODE = "time_limit_exceeded"


async def hanging(start: Any, **settings: Any) -> FakeService:
    """Return a service whose model `m` has one slot and takes no step."""
    service = await start(parallel=1, request_timeout=LONGER, **settings)
    service.write(reply="A long answer.")
    service.backend.token_gate.hold()
    return service


async def metrics(service: FakeService) -> str:
    return (await service.client.get("/metrics")).text


async def assert_nothing_is_left(service: FakeService) -> None:
    """Show that nothing is held any more, and that the next request is answered."""
    assert service.app.state.service.admission._in_flight == 0
    assert all(model.users == 0 for model in service.app.state.service.pool._models.values())
    service.backend.token_gate.release()
    service.backend.load_gate.release()
    assert (await service.post(chat())).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat()),
        (CHAT, chat(stream=True)),
        ("/v1/completions", PROMPT),
        ("/v1/responses", INPUT),
        ("/v1/messages", MESSAGES),
        ("/v1/embeddings", INPUT),
        ("/tokenize", PROMPT),
    ],
)
async def test_a_load_that_takes_too_long(start, path, body):
    """Nothing was sent by then, so that the answer is a 504 that no SDK tries again."""
    service = await start(request_timeout=SHORT)
    service.write(reply="Hello.")
    service.backend.load_gate.hold()
    response = await service.post(body, path=path)
    assert (response.status_code, response.json()["error"]["code"]) == (STATUS, CODE)
    assert response.json()["error"]["message"] == ("the response was not complete within 0.3 s")
    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers
    await assert_nothing_is_left(service)


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        (CHAT, chat(), "server_error"),
        ("/v1/completions", PROMPT, "server_error"),
        ("/v1/responses", INPUT, "server_error"),
        ("/v1/messages", MESSAGES, "timeout_error"),
    ],
)
async def test_a_whole_answer_that_takes_too_long(start, caplog, path, body, kind):
    """Its slot is free without another step; the error is in its clients' shape."""
    service = await hanging(start)
    with caplog.at_level("INFO"):
        response = await service.post(body, path=path)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (STATUS, kind, CODE)
    assert service.engine.stats().completion_tokens == 0
    assert [one.fields["error_code"] for one in caplog.records if hasattr(one, "fields")] == [CODE]
    await assert_nothing_is_left(service)
    told = await metrics(service)
    assert f'outcome="{CODE}"' in told
    assert f'code="{CODE}"' in told


async def test_the_queue_counts(start):
    """Who waits for a turn waits no longer than that, and those before it end as well."""
    service = await hanging(start)
    answers = await asyncio.gather(*(service.post(chat()) for _ in range(4)))
    assert [one.status_code for one in answers] == [STATUS] * 4
    assert service.app.state.service.leases.waiting("m") == 0
    await assert_nothing_is_left(service)


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
async def test_a_stream_ends_with_the_error(start, path):
    """The error, the finish reason `error`, and `[DONE]`: a stream that breaks."""
    service = await hanging(start)
    body = chat(stream=True) if path == CHAT else {**PROMPT, "stream": True}
    response = await service.post(body, path=path)
    assert response.status_code == 200
    *_, error, last, done = events(response.text)
    assert error["error"]["code"] == CODE
    assert last["choices"][0]["finish_reason"] == "error"
    assert done == "[DONE]"
    await assert_nothing_is_left(service)
    assert f'outcome="{CODE}"' in await metrics(service)


async def test_a_stream_of_messages_ends_with_an_error_event(start):
    """In Anthropic's shape, and no `message_stop` follows."""
    service = await hanging(start)
    response = await service.post({**MESSAGES, "stream": True}, path="/v1/messages")
    last = events(response.text)[-1]
    assert last["type"] == "error"
    assert last["error"]["type"] == "timeout_error"
    await assert_nothing_is_left(service)


async def test_a_stream_of_responses_fails(start):
    """With what there is of it, and an event `error`, which has the code."""
    service = await hanging(start)
    response = await service.post({**INPUT, "stream": True}, path="/v1/responses")
    failed, last = events(response.text)[-2:]
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert (last["type"], last["code"]) == ("error", CODE)
    await assert_nothing_is_left(service)


async def test_a_stream_whose_loading_is_shown(start):
    """Its 200 is sent while the model loads, so the error is in the stream."""
    service = await start(request_timeout=LONGER)
    service.write()
    service.backend.load_gate.hold()
    told = await service.stream(stream_options={"include_loading": True})
    assert told[0]["error"]["code"] == CODE
    assert told[-1] == "[DONE]"
    await assert_nothing_is_left(service)


async def test_a_reader_that_does_not_read(start):
    """The slot is free although the client takes nothing more."""
    service = await hanging(start)
    first = asyncio.Event()

    class Stuck(Call):
        async def _send(self, message: dict[str, Any]) -> None:
            await super()._send(message)
            if message["type"] == "http.response.body":
                first.set()
                await asyncio.Event().wait()  # as uvicorn does when the socket's buffer is full

    call = Stuck(service.app, chat(stream=True))
    await first.wait()
    async with asyncio.timeout(10):
        while service.app.state.service.admission._in_flight:  # noqa: ASYNC110 - to be freed tells no event
            await asyncio.sleep(0.01)
    await call.hang_up()
    await assert_nothing_is_left(service)


async def test_what_ends_in_time_is_left_alone(start):
    """An answer is the same with a limit and without."""
    service = await start(request_timeout=1000.0)
    service.write(reply="Hello.")
    assert (await service.ask())["choices"][0]["message"]["content"] == "Hello."
    assert (await service.stream())[-1] == "[DONE]"


async def test_a_body_that_does_not_end(start):
    """A 408 after `receive_timeout`, and the connection ends: the rest may still come."""
    service = await start(receive_timeout=SHORT)
    service.write()
    sent: asyncio.Queue[Any] = asyncio.Queue()

    class Heard(Call):
        async def _send(self, message: dict[str, Any]) -> None:
            sent.put_nowait(message)

    call = Heard(service.app, chat(), whole=False)
    async with asyncio.timeout(10):
        await call.task
    head = sent.get_nowait()
    assert head["status"] == 408
    assert (b"connection", b"close") in head["headers"]
    assert b'"code":"request_timeout"' in sent.get_nowait()["body"]
    assert service.backend.loads == []
