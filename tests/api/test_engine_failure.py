"""Engines that hang or die: their own requests fail, and no others."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pilotlight_backend import EngineClosed
from tests.api.caller import Call
from tests.conftest import CHAT, FakeService, chat

pytestmark = pytest.mark.slow

SHORT = 2
LONG = "An answer that is longer than any engine of these tests lives. " * 20


@pytest.fixture(params=["none", "process"])
def isolation(request: pytest.FixtureRequest, install: Callable[[str, str], None]) -> str:
    """Return where engines are; the fake's plugin is installed for their processes."""
    install("fake", "pilotlight_backend.testing.plugin")
    return request.param


@pytest.fixture
def isolated(start: Any, install: Callable[[str, str], None]) -> Callable[..., Any]:
    """Return a function that starts a service whose engines have processes of their own."""
    install("fake", "pilotlight_backend.testing.plugin")
    return lambda **settings: start(isolation="process", **settings)


def engine(service: FakeService, name: str = "m") -> Any:
    """Return the engine of the loaded model *name*."""
    models = service.app.state.service.pool._models
    (loaded,) = (one.loaded for entry, one in models.items() if entry.name == name)
    return loaded.base


def recover(service: FakeService) -> None:
    """Let the engines of this process go on that hang."""
    for one in list(service.backend.engines):
        one.recovered.set()


def failed(got: list[Any]) -> dict[str, Any]:
    """Return the error of a stream that broke; the stream has it, and ends in order."""
    *_, error, broken, done = got
    assert broken["choices"][0]["finish_reason"] == "error"
    assert done == "[DONE]"
    return error["error"]


# ── hanging ─────────────────────────────────────────────────────────────────────────────────────


async def test_hang_fails_its_requests(start, isolation):
    """A stream ends by the error event, a whole answer with a 500; both say what hangs."""
    service = await start(step_timeout=0.4, isolation=isolation, parallel=1)
    service.write(reply=LONG, hang_after=5)
    stream = Call(service.app, chat(stream=True))
    got = await stream.next()

    whole = await service.post(chat())  # it waits for the one slot
    while "[DONE]" not in got:
        got += await stream.next()

    error = failed(got)
    assert error["code"] == error["type"] == "inference_error"
    assert error["message"] == "the engine of 'm' hangs: a step took more than 0.4 s"
    assert whole.status_code == 500
    assert whole.json()["error"]["code"] == "inference_error"
    recover(service)


HANGING_CALLS = """
import threading
from pilotlight_backend import hookimpl
from pilotlight_backend.testing import fake

class Hanging(fake.FakeBakingEngine):
    def tokenize(self, text, *, special):
        if "hang" in text:
            threading.Event().wait()
        return super().tokenize(text, special=special)

fake.FakeBakingEngine = Hanging

@hookimpl
def pilotlight_register_backend():
    return fake.FakeBackend()
"""


async def test_call_that_hangs_fails_its_requests(start, install, tmp_path, monkeypatch):
    """Tokenising hangs in the process, which answers everything else: the guard sees it."""
    (tmp_path / "hanging_calls.py").write_text(HANGING_CALLS)
    monkeypatch.syspath_prepend(tmp_path)
    install("fake", "hanging_calls")
    service = await start(step_timeout=0.4, isolation="process")
    service.write(reply="ok")
    assert (await service.post(chat())).status_code == 200
    pid = engine(service).pid

    answers = await asyncio.gather(*(service.post(chat(text="hang")) for _ in range(6)))

    assert {one.status_code for one in answers} == {500}
    assert {one.json()["error"]["code"] for one in answers} == {"inference_error"}
    assert "hangs: a step took more than 0.4 s" in answers[0].json()["error"]["message"]
    assert (await service.post(chat())).status_code == 200
    assert engine(service).pid != pid


async def test_call_that_hangs_in_this_process_fails_its_requests(start, monkeypatch):
    """A thread cannot be killed: it stays, its requests end, and the model is loaded anew."""
    service = await start(step_timeout=0.05)  # for each 64 tokens
    service.write(reply="ok")
    assert (await service.post(chat())).status_code == 200
    first, let = engine(service), threading.Event()
    monkeypatch.setattr(first, "tokenize", lambda *_, **__: let.wait(20))

    answers = await asyncio.gather(*(service.post(chat(text="x" * 9000)) for _ in range(6)))

    assert {one.status_code for one in answers} == {500}
    assert "hangs: a step took more than 0.05 s" in answers[0].json()["error"]["message"]
    assert (await service.post(chat())).status_code == 200
    assert engine(service) is not first
    let.set()


async def test_model_that_hung_is_loaded_anew(start, isolation):
    """The next request is served, by another engine, while the first one still hangs."""
    service = await start(step_timeout=0.4, isolation=isolation)
    service.write(reply=LONG, hang_after=5)
    assert (await service.post(chat())).status_code == 500

    answer = await service.ask(max_tokens=SHORT)

    assert answer["usage"]["completion_tokens"] == SHORT
    assert len(service.backend.engines) == (2 if isolation == "none" else 0)
    recover(service)


async def test_process_goes_on_beside_a_hang(start, isolation):
    """The probes answer, and another model's stream is whole."""
    service = await start(step_timeout=0.4, isolation=isolation)
    service.write(reply=LONG, hang_after=5)
    service.write("other", reply=LONG[:300], token_seconds=0.005)
    hanging = asyncio.create_task(service.post(chat()))

    other = await service.stream(model="other")
    live = await service.client.get("/livez")

    assert other[-2]["choices"][0]["finish_reason"] == "stop"
    assert (
        "".join(one["choices"][0]["delta"].get("content", "") for one in other[:-1]) == LONG[:300]
    )
    # A thread that cannot be ended is told as soon as it is known; a process is killed.
    told = {200: "ok"} if isolation == "process" else {200: "ok", 503: "hanging"}
    assert live.json()["status"] == told[live.status_code]
    assert (await hanging).status_code == 500
    recover(service)


async def test_hang_that_ends_gives_its_memory_back(start):
    """A thread cannot be killed: its memory counts until it goes on, and then it is closed."""
    service = await start(step_timeout=0.4, memory_budget="1000B", prompt_cache="0")
    service.write(reply=LONG, hang_after=5, size_bytes=600)
    assert (await service.post(chat())).status_code == 500
    (hung,) = service.backend.engines

    refused = await service.post(chat(max_tokens=SHORT))
    assert refused.status_code == 503
    error = refused.json()["error"]
    assert error["code"] == "insufficient_memory"
    assert "hanging engines hold 600" in error["message"]

    hung.recovered.set()
    assert await asyncio.to_thread(hung.closed.wait, 10)
    async with asyncio.timeout(10):
        while service.app.state.service.pool.hangs:  # noqa: ASYNC110 - a callback is on its way
            await asyncio.sleep(0.01)


async def test_what_a_hung_engine_says_later_is_not_heard(start):
    """Its request has ended; the tokens that come after all go nowhere."""
    service = await start(step_timeout=0.4)
    service.write(reply=LONG, hang_after=5)
    call = Call(service.app, chat(stream=True))
    got: list[Any] = []
    while "[DONE]" not in got:
        got += await call.next()
    (hung,) = service.backend.engines
    hung.recovered.set()
    assert await asyncio.to_thread(hung.closed.wait, 10)
    assert failed(got)["code"] == "inference_error"


async def test_slow_engine_is_left_alone(start, isolation):
    """Steps that take their time, and an answer that takes longer than a step may, are no hang."""
    service = await start(step_timeout=0.4, isolation=isolation)
    service.write(reply="as slow as that", token_seconds=0.05)
    assert (await service.ask())["choices"][0]["message"]["content"] == "as slow as that"


async def test_engine_is_watched_as_models_yaml_says(start, tmp_path: Path):
    """A model's own `step_timeout` comes before the setting: here it is off."""
    folder = tmp_path / "models"
    (tmp_path / "models.yaml").write_text(
        f"m: {{path: {folder}/m.fake, step_timeout: 0.3}}\nn: {{path: {folder}/n.fake}}\n"
    )
    service = await start(step_timeout=0)
    service.write(reply=LONG, hang_after=5)
    service.write("n", reply=LONG, hang_after=5)
    unwatched = asyncio.create_task(service.post(chat("n", max_tokens=20)))

    assert (await service.post(chat())).status_code == 500
    assert not unwatched.done()

    recover(service)
    assert (await unwatched).status_code == 200


# ── death ───────────────────────────────────────────────────────────────────────────────────────


async def test_death_fails_its_requests_alone(isolated):
    """Streams of another model are whole, and the next request is served."""
    service = await isolated()
    service.write(reply=LONG, abort_after=5, token_seconds=0.05)
    service.write("other", reply=LONG[:300], token_seconds=0.005)
    other = asyncio.create_task(service.stream(model="other"))

    got = await asyncio.gather(*(service.stream() for _ in range(3)))
    answer = await service.ask(max_tokens=SHORT)

    for one in got:
        error = failed(one)
        assert error["code"] == "inference_error"
        assert error["message"] == "m.fake: the engine's process was killed by SIGABRT"
    assert answer["usage"]["completion_tokens"] == SHORT
    whole = await other
    assert whole[-2]["choices"][0]["finish_reason"] == "stop"
    assert whole[-1] == "[DONE]"


async def test_death_while_nobody_asks_is_not_noticed(isolated):
    """The model counts as absent then, and the next request loads it like any."""
    service = await isolated()
    service.write(reply="Hello.")
    await service.ask()
    first = engine(service)
    os.kill(first.pid, signal.SIGKILL)
    await asyncio.to_thread(first._client._thread.join)

    models = (await service.client.get("/v1/models")).json()
    ready = (await service.client.get("/readyz", params={"model": "m"})).json()
    answer = await service.ask()

    assert ready["models"][0]["state"] == "absent", models
    assert answer["choices"][0]["message"]["content"] == "Hello."
    assert engine(service).pid != first.pid


async def test_death_while_it_loads_is_a_failed_load(isolated):
    """The client gets a Retry-After; the server's process lives."""
    service = await isolated()
    service.write(load_error="abort")
    answer = await service.post(chat())
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert error["code"] == "model_load_failed"
    assert error["message"] == "m.fake: the process that loads it was killed by SIGABRT"
    assert "retry-after" in answer.headers
    assert (await service.client.get("/livez")).status_code == 200


async def test_death_of_an_engine_that_embeds(isolated):
    """Its request fails, and the next one is served."""
    service = await isolated()
    service.write(embedding_length=4, token_seconds=0.05)
    body = {"model": "m", "input": ["text"] * 200}
    asked = asyncio.create_task(service.post(body, path="/v1/embeddings"))
    async with asyncio.timeout(20):
        while not service.app.state.service.pool.loaded or not _busy(service):  # noqa: ASYNC110 - it is on its way
            await asyncio.sleep(0.01)
    os.kill(engine(service).pid, signal.SIGKILL)
    answer = await asked
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "inference_error"
    body["input"] = ["text"]
    assert (await service.post(body, path="/v1/embeddings")).status_code == 200


def _busy(service: FakeService) -> bool:
    use = service.app.state.service.pool.use()
    return any(one.stats and one.stats.slots_busy for one in use.values())


# ── loads that hang ─────────────────────────────────────────────────────────────────────────────


async def test_load_that_hangs_fails_its_requests(start):
    """The client's error and the probes name what hangs, in fields and not in messages alone."""
    service = await start(load_timeout=0.4, hold=30)
    service.write(reply="Hello.", size_bytes=600)
    service.backend.load_gate.hold()

    answer = await service.post(chat())
    ready = await service.client.get("/readyz", params={"model": "m"})

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "model_load_failed"
    assert "no progress for 0.4 s and cannot be stopped" in answer.json()["error"]["message"]
    assert "retry-after" in answer.headers
    assert ready.status_code == 503
    assert ready.json()["status"] == "failed"
    assert ready.json()["models"][0]["state"] == "failed"
    assert ready.json()["models"][0]["error"] == answer.json()["error"]["message"]
    assert ready.json()["hanging"] == [{"id": "m", "during": "load", "memory_bytes": 600}]


async def test_process_of_a_load_that_hangs_is_killed(isolated):
    """Nothing stays of it, and the process that serves is sound."""
    service = await isolated(load_timeout=0.4, hold=30)
    service.write(reply="Hello.", load_seconds=4000)

    answer = await service.post(chat())
    live = await service.client.get("/livez")
    ready = await service.client.get("/readyz", params={"model": "m"})

    assert answer.status_code == 503
    error = answer.json()["error"]
    assert error["code"] == "model_load_failed"
    assert error["message"] == (
        "loading 'm' has made no progress for 0.4 s, and its process was killed"
    )
    assert ready.json()["hanging"] == []
    assert (live.status_code, live.json()) == (200, {"status": "ok", "hanging": []})


# ── what the probes say of a hang ───────────────────────────────────────────────────────────────


async def test_hang_that_cannot_be_ended_is_told(start, isolation):
    """A restart is the one cure of a thread that hangs, and none is needed of a process."""
    service = await start(step_timeout=0.4, isolation=isolation, preload=())
    service.write(reply=LONG, hang_after=5, size_bytes=600)
    sound = (await service.client.get("/livez")).json()
    assert (await service.post(chat())).status_code == 500
    here = isolation == "none"
    hanging = [{"id": "m", "during": "step", "memory_bytes": 600}] if here else []

    live = await service.client.get("/livez")
    ready = await service.client.get("/readyz")

    assert sound == {"status": "ok", "hanging": []}
    assert live.status_code == (503 if here else 200)
    assert live.json() == {"status": "hanging" if here else "ok", "hanging": hanging}
    assert ready.status_code == 200  # the next request loads the model anew
    assert ready.json() == {"status": "ready", "models": [], "hanging": hanging}
    recover(service)


async def test_hang_that_ends_is_told_no_more(start):
    """The process is healthy again, and needs no restart."""
    service = await start(step_timeout=0.4)
    service.write(reply=LONG, hang_after=5)
    assert (await service.post(chat())).status_code == 500
    (hung,) = service.backend.engines
    assert (await service.client.get("/livez")).status_code == 503
    recover(service)
    assert await asyncio.to_thread(hung.closed.wait, 10)
    async with asyncio.timeout(10):
        while service.app.state.service.pool.hangs:  # noqa: ASYNC110 - a callback is on its way
            await asyncio.sleep(0.01)
    assert (await service.client.get("/livez")).json() == {"status": "ok", "hanging": []}
    assert (await service.client.get("/readyz")).json()["hanging"] == []


# ── what an engine refuses by itself ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("keys", "body", "path", "code", "param"),
    [
        ({"unsupported": "top_k"}, chat(top_k=5), CHAT, "invalid_request_error", "top_k"),
        (
            {"unsupported": "dry_multiplier"},
            chat(dry_multiplier=1),
            CHAT,
            "invalid_request_error",
            "dry_multiplier",
        ),
        ({}, chat(min_tokens=9, max_tokens=8), CHAT, "invalid_request_error", "min_tokens"),
        ({"unsupported": "min_p"}, chat(min_p=0.5, n=2), CHAT, "invalid_request_error", "min_p"),
        ({"longest_prompt": 3}, chat(), CHAT, "context_length_exceeded", "messages"),
        (
            {"longest_prompt": 3},
            {"model": "m", "prompt": "long enough"},
            "/v1/completions",
            "context_length_exceeded",
            "prompt",
        ),
    ],
)
async def test_refusal_is_the_same_from_another_process(  # noqa: PLR0917 - a row of a table
    start, install, keys, body, path, code, param, stream
):
    """The same status and the same body, to the word, wherever the engine is."""
    install("fake", "pilotlight_backend.testing.plugin")
    answers = []
    for isolation in ("none", "process"):
        service = await start(isolation=isolation)
        service.write(**keys)
        answers.append(await service.post({**body, "stream": stream}, path))
    here, there = answers
    assert here.status_code == there.status_code == 400
    assert here.json() == there.json()
    assert (here.json()["error"]["code"], here.json()["error"]["param"]) == (code, param)


async def test_refusal_of_an_input_is_the_same_from_another_process(start, install):
    """An input's place is named, of several."""
    install("fake", "pilotlight_backend.testing.plugin")
    answers = []
    for isolation in ("none", "process"):
        service = await start(isolation=isolation)
        service.write(embedding_length=4, longest_prompt=8)
        body = {"model": "m", "input": ["short", "much too long"]}
        answers.append(await service.post(body, "/v1/embeddings"))
    here, there = answers
    assert here.status_code == there.status_code == 400
    assert here.json() == there.json()
    assert here.json()["error"]["param"] == "input[1]"


# ── everything else is as it was ────────────────────────────────────────────────────────────────


async def test_form_is_kept_in_another_process(isolated):
    """A grammar's guide stays in the service, and restricts the tokens of the engine there."""
    service = await isolated()
    service.write(reply='{"a":"three"}')
    schema = {
        "type": "object",
        "properties": {"a": {"enum": ["one", "two"]}},
        "required": ["a"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = await service.ask(response_format=form)
    assert msgspec.json.decode(answer["choices"][0]["message"]["content"]) == {"a": "two"}


async def test_tokens_are_asked_of_another_process(isolated):
    service = await isolated()
    service.write()
    answer = await service.post({"model": "m", "prompt": "hi"}, path="/tokenize")
    assert answer.json()["tokens"] == [104, 105]


async def test_unloading_ends_the_process(isolated):
    """A model that makes room, or a server that ends, leaves no process behind."""
    service = await isolated(memory_budget="50MiB")
    for name in ("m", "n"):
        service.write(name, reply=name, size_bytes=600)
    await service.ask()
    first = engine(service).pid
    await service.ask(model="n")
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


async def test_an_engine_that_has_just_died_is_no_shutdown(start, monkeypatch):
    """A request between a death and its detection gets `inference_error`: no server shuts down."""
    service = await start()
    service.write(reply="Hello.")
    await service.ask()

    def submit(*_):
        raise EngineClosed("the engine is closed")  # as a process does that is gone

    monkeypatch.setattr(service.engine, "submit", submit)
    answer = await service.post(chat())
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "inference_error")
