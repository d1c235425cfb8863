"""`POST /v1/embeddings`: its request, its answer, its errors, and a model that is cold."""

import asyncio
import base64
import math
import re
import struct
from typing import Any

import httpx
import msgspec
import pytest

from pilotlight_backend.testing.fake import FakeBackend
from pilotlight_backend.testing.fake_embedding_engine import vector_of
from tests.api.caller import Call
from tests.conftest import FakeService, chat

EMBEDDINGS = "/v1/embeddings"
LENGTH = 8
END = 257
"""The fake's end token, which it puts behind a text."""


def body(text: Any = "hi", model: str = "e", **fields: Any) -> dict[str, Any]:
    """Return an embedding request."""
    return {"model": model, "input": text, **fields}


async def post(service: FakeService, content: Any, **headers: str) -> httpx.Response:
    """Send *content* to the endpoint, bytes as they are."""
    data = content if isinstance(content, bytes) else msgspec.json.encode(content)
    headers = {"content-type": "application/json", **headers}
    return await service.client.post(EMBEDDINGS, content=data, headers=headers)


async def ask(service: FakeService, *given: Any, **fields: Any) -> dict[str, Any]:
    """Return the answer to a request."""
    response = await post(service, body(*given, **fields))
    assert response.status_code == 200, response.text
    return response.json()


async def refused(service: FakeService, content: Any) -> dict[str, Any]:
    """Return the error of a request that is a 400."""
    response = await post(service, content)
    assert response.status_code == 400, response.text
    return response.json()["error"]


def tokens_of(text: str) -> list[int]:
    """Return what the fake makes of *text*."""
    return [*text.encode(), END]


def expected(tokens: list[int]) -> list[float]:
    """Return the vector of *tokens*."""
    return list(vector_of(tokens, LENGTH))


@pytest.fixture
async def embedding(start) -> FakeService:
    """Return a service with a model that embeds, `e`, and one that writes, `m`."""
    service = await start()
    service.write("e", embedding_length=LENGTH, context_length=64)
    service.write("m", reply="Hello.")
    return service


# The request and its answer


async def test_text_has_a_vector(embedding):
    """The answer is OpenAI's, with the tokens that the model puts at a text's ends counted."""
    answer = await ask(embedding, "hi")
    assert answer == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": expected(tokens_of("hi"))}],
        "model": "e",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }


async def test_texts_have_vectors_in_their_order(embedding):
    """Each has the vector that it has alone."""
    answer = await ask(embedding, ["one", "two", "one"])
    found = [one["embedding"] for one in answer["data"]]
    assert found == [expected(tokens_of(text)) for text in ("one", "two", "one")]
    assert [one["index"] for one in answer["data"]] == [0, 1, 2]
    assert answer["usage"]["prompt_tokens"] == 12


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ([104, 105], [[104, 105]]),
        ([[104, 105]], [[104, 105]]),
        ([[104, 105], [7]], [[104, 105], [7]]),
        (["hi", [7]], [[104, 105, END], [7]]),
    ],
)
async def test_token_ids_are_taken_as_they_are(embedding, given, inputs):
    """One list of ids is one input; nothing is added to it."""
    answer = await ask(embedding, given)
    assert [one["embedding"] for one in answer["data"]] == [expected(one) for one in inputs]
    assert embedding.backend.embedders[0].requests == [tuple(map(tuple, inputs))]


async def test_base64_holds_the_same_numbers(embedding):
    """32-bit floats, the lowest byte first."""
    written = (await ask(embedding, "hi", encoding_format="base64"))["data"][0]["embedding"]
    numbers = struct.unpack(f"<{LENGTH}f", base64.b64decode(written, validate=True))
    assert list(numbers) == expected(tokens_of("hi"))


async def test_fewer_dimensions_are_the_first_scaled(embedding):
    """As OpenAI shortens its vectors: cut, then of length 1 again."""
    short = (await ask(embedding, "hi", dimensions=3))["data"][0]["embedding"]
    first = expected(tokens_of("hi"))[:3]
    assert short == pytest.approx([one / math.hypot(*first) for one in first], abs=1e-7)
    whole = (await ask(embedding, "hi", dimensions=LENGTH))["data"][0]["embedding"]
    assert whole == expected(tokens_of("hi"))


async def test_null_and_user_mean_nothing(embedding):
    """Fields that clients send as null are as if they were left out."""
    fields = {"encoding_format": None, "dimensions": None, "user": "somebody"}
    assert await ask(embedding, "hi", **fields) == await ask(embedding, "hi")


async def test_text_of_any_kind_has_a_vector(embedding):
    """Emoji, a surrogate's half, a null character, and nothing but spaces."""
    answer = await ask(embedding, ["🦙", "\x00", " ", "ü" * 20])
    assert len({tuple(one["embedding"]) for one in answer["data"]}) == 4


async def test_most_inputs(embedding):
    """2,048 inputs are answered, in their order."""
    texts = [str(number) for number in range(2048)]
    answer = await ask(embedding, texts)
    assert [one["index"] for one in answer["data"]] == list(range(2048))
    assert answer["data"][1234]["embedding"] == expected(tokens_of("1234"))


# Prompts


CONFIG = "config_sentence_transformers.json"
PROMPTS = b'{"prompts": {"query": "Q: ", "document": ""}, "default_prompt_name": "query"}'


async def test_prompt_comes_before_each_text(embedding):
    """By its name in the file of sentence-transformers; without a name there is none."""
    (embedding.folder / CONFIG).write_bytes(PROMPTS)
    answer = await ask(embedding, ["a", "b"], prompt_name="query")
    found = [one["embedding"] for one in answer["data"]]
    assert found == [expected(tokens_of(text)) for text in ("Q: a", "Q: b")]
    assert answer["usage"]["prompt_tokens"] == 10
    for fields in ({"prompt_name": "document"}, {"prompt_name": None}, {}):
        answer = await ask(embedding, "a", **fields)
        assert answer["data"][0]["embedding"] == expected(tokens_of("a"))


async def test_prompts_of_models_yaml_replace_those_of_the_file(start, tmp_path):
    """Even by none."""
    (tmp_path / "models.yaml").write_text(
        "p: {path: models/e.fake, prompts: {query: 'yaml: '}}\n"
        "q: {path: models/e.fake, prompts: {}}\n",
        encoding="utf-8",
    )
    service = await start()
    service.write("e", embedding_length=LENGTH)
    (service.folder / CONFIG).write_bytes(PROMPTS)
    answer = await ask(service, "a", "p", prompt_name="query")
    assert answer["data"][0]["embedding"] == expected(tokens_of("yaml: a"))
    error = await refused(service, body("a", "q", prompt_name="query"))
    assert error["message"] == "prompt_name: the model 'q' has no prompt 'query'; it has none"


async def test_unknown_prompt_lists_those_there_are(embedding):
    """The 400 names the field."""
    (embedding.folder / CONFIG).write_bytes(PROMPTS)
    error = await refused(embedding, body("a", prompt_name="passage"))
    assert error["param"] == "prompt_name"
    assert error["message"] == (
        "prompt_name: the model 'e' has no prompt 'passage'; it has document, query"
    )


@pytest.mark.parametrize(
    ("given", "param"), [([1, 2], "input"), (["a", [1]], "input[1]"), ([[1]], "input[0]")]
)
async def test_token_ids_have_no_prompt(embedding, given, param):
    """They are used as they are, so the 400 names them."""
    (embedding.folder / CONFIG).write_bytes(PROMPTS)
    error = await refused(embedding, body(given, prompt_name="query"))
    assert error["param"] == param
    assert error["message"] == (
        f"{param}: expected a text, since prompt_name cannot be combined with token ids"
    )


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"prompts": {"query": 1}}', b"\xff", b""])
async def test_damaged_prompts_are_reported_where_they_are_requested(embedding, content):
    """Requests without a prompt are not affected, and a mended file is read."""
    (embedding.folder / CONFIG).write_bytes(content)
    error = await refused(embedding, body("a", prompt_name="query"))
    assert error["param"] == "prompt_name"
    assert error["message"].startswith(f"prompt_name: {CONFIG}")
    assert (await ask(embedding, "a"))["data"]
    (embedding.folder / CONFIG).write_bytes(PROMPTS)
    assert (await ask(embedding, "a", prompt_name="query"))["data"]


async def test_prompts_in_a_folder_of_their_own_name(embedding):
    """What cannot be a file is no crash."""
    (embedding.folder / CONFIG).mkdir()
    error = await refused(embedding, body("a", prompt_name="query"))
    assert error["message"].startswith(f"prompt_name: {CONFIG} cannot be read")


# What is refused


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (body(""), "input"),
        (body([]), "input"),
        (body([""]), "input[0]"),
        (body(["a", ""]), "input[1]"),
        (body([[]]), "input[0]"),
        (body([[1], []]), "input[1]"),
        (body(["a", 1]), "input"),
        (body([1, [1]]), "input"),
        (body([-1]), "input[0]"),
        (body([[1, 2**31]]), "input[0][1]"),
        (body([1.5]), "input[0]"),
        (body([None]), "input[0]"),
        (body(None), "input"),
        (body({"text": "a"}), "input"),
        (body(["a"] * 2049), "input"),
        ({"model": "e"}, "input"),
        ({"input": "a"}, "model"),
        (body("a", ""), "model"),
        (body(prompt_name=""), "prompt_name"),
        (body(prompt_name="query"), "prompt_name"),
        (body(encoding_format="int8"), "encoding_format"),
        (body(dimensions=0), "dimensions"),
        (body(dimensions=LENGTH + 1), "dimensions"),
        (body(colour="red"), "colour"),
        (body([[1, 999_999]]), "input"),
    ],
)
async def test_what_cannot_be_embedded_is_refused(embedding, content, param):
    """The 400 names the field, and the place in it."""
    error = await refused(embedding, content)
    assert (error["param"], error["code"]) == (param, "invalid_request_error")


@pytest.mark.parametrize(
    ("given", "param"),
    [("x" * 64, "input"), ([1] * 65, "input"), (["a", "x" * 64], "input[1]")],
)
async def test_input_beyond_the_context_is_refused(embedding, given, param):
    """The 400 has both figures; a text as long as the context is embedded."""
    error = await refused(embedding, body(given))
    assert (error["code"], error["param"]) == ("context_length_exceeded", param)
    assert error["message"] == f"{param}: 65 tokens; this model takes at most 64"
    await ask(embedding, "x" * 63)


async def test_model_that_writes_is_no_embedder(embedding):
    """The 400 says what the model is."""
    error = await refused(embedding, body(model="m"))
    assert error["param"] == "model"
    assert error["message"] == (
        "model: 'm' generates text and does not make embeddings"
        "; expected a model whose capabilities in GET /v1/models have embedding"
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_model_that_embeds_is_no_writer(embedding, stream):
    """So does chat's, before a stream begins."""
    response = await embedding.post(chat("e", stream=stream))
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == "model"
    assert error["message"] == (
        "model: 'e' makes embeddings and does not generate text"
        "; expected a model whose capabilities in GET /v1/models have completion"
    )


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "invalid_request_error"),
        (b"{", 400, "invalid_request_error"),
        (b"[]", 400, "invalid_request_error"),
        (msgspec.json.encode(body(model="nobody")), 404, "model_not_found"),
    ],
)
async def test_bodies_that_are_none(embedding, content, status, code):
    """They have the errors of every endpoint."""
    response = await post(embedding, content)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


async def test_other_methods_are_refused(embedding):
    """With the one that is allowed."""
    response = await embedding.client.get(EMBEDDINGS)
    assert response.status_code == 405
    assert "POST" in response.headers["allow"]


async def test_unknown_field_may_be_ignored(start):
    """Where the settings say so."""
    service = await start(unknown_fields="ignore")
    service.write("e", embedding_length=LENGTH)
    assert (await ask(service, colour="red"))["data"]


async def test_engine_that_fails_is_a_500(embedding):
    """The next request is answered."""
    embedding.write("bad", embedding_length=LENGTH, fail_after=1)
    response = await post(embedding, body(["one", "two"], "bad"))
    assert (response.status_code, response.json()["error"]["code"]) == (500, "inference_error")
    assert (await ask(embedding, "one", "bad"))["data"]


# A cold model


async def test_cold_model_is_held_for_and_leaves_a_timing(embedding):
    """The first response has the timing of the load; a warm one has none."""
    first = await post(embedding, body())
    names = re.findall(r"(\w+);dur=", first.headers["server-timing"])
    assert names == [
        "import", "begin", "read", "warm", "hold", "queue", "prefill", "first_token",
    ]  # fmt: skip
    assert "server-timing" not in (await post(embedding, body())).headers


async def test_second_models_timing_has_no_import(embedding):
    """The process was there already."""
    embedding.write("other", embedding_length=LENGTH)
    await ask(embedding)
    second = await post(embedding, body(model="other"))
    names = re.findall(r"(\w+);dur=", second.headers["server-timing"])
    assert names == ["read", "warm", "hold", "queue", "prefill", "first_token"]


async def test_loading_model_is_a_503_with_retry_after(embedding):
    """With a short hold; the load continues, and a later request succeeds."""
    embedding.backend.load_gate.hold()
    response = await post(embedding, body(), prefer="wait=0")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "model_loading")
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert response.headers["x-should-retry"] == "true"
    embedding.backend.load_gate.release()
    await ask(embedding)
    assert len(embedding.backend.loads) == 1


async def test_model_that_cannot_be_loaded_is_a_503(embedding):
    """A retry cannot help, and the header says so."""
    embedding.write("bad", embedding_length=LENGTH, load_error="invalid")
    response = await post(embedding, body(model="bad"))
    assert (response.status_code, response.json()["error"]["code"]) == (503, "model_load_failed")
    assert response.headers["x-should-retry"] == "false"


# Company, and leaving


async def one_at_a_time(start: Any, **settings: Any) -> FakeService:
    """Return a service whose model `e` runs one request and takes no step yet."""
    service = await start(parallel=1, **settings)
    service.write("e", embedding_length=LENGTH)
    service.backend.token_gate.hold()
    return service


async def reached(service: FakeService) -> None:
    """Wait until the engine stands before its next step."""
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)


async def waits(backend: FakeBackend, count: int) -> None:
    """Wait until *count* requests are in the engine."""
    async with asyncio.timeout(10):
        while not backend.embedders or len(backend.embedders[0].requests) < count:  # noqa: ASYNC110 - submitting tells no event
            await asyncio.sleep(0.01)


async def test_full_queue_is_a_429(start):
    """As many may wait as the setting says."""
    service = await one_at_a_time(start, max_queue=1)
    calls = [asyncio.create_task(post(service, body("running")))]
    await reached(service)
    calls.append(asyncio.create_task(post(service, body("waiting"))))
    await waits(service.backend, 2)
    response = await post(service, body("too many"))
    assert (response.status_code, response.json()["error"]["code"]) == (429, "queue_full")
    assert "retry-after" in response.headers
    service.backend.token_gate.release()
    assert [one.status_code for one in await asyncio.gather(*calls)] == [200, 200]


async def test_full_queue_says_how_long_it_takes(start):
    """By the speed of the requests before: one took eight seconds, and one waits."""
    now = 100.0
    service = await one_at_a_time(start, max_queue=1, clock=lambda: now)
    first = asyncio.create_task(post(service, body("first")))
    await reached(service)
    now += 8.0
    service.backend.token_gate.release()
    assert (await first).status_code == 200

    service.backend.token_gate.hold()
    calls = [asyncio.create_task(post(service, body("running")))]
    await reached(service)
    calls.append(asyncio.create_task(post(service, body("waiting"))))
    await waits(service.backend, 3)
    response = await post(service, body("too many"))

    assert (response.status_code, response.headers["retry-after"]) == (429, "8")
    service.backend.token_gate.release()
    assert [one.status_code for one in await asyncio.gather(*calls)] == [200, 200]


async def test_who_finds_the_queue_full_costs_no_tokenising(start, monkeypatch):
    """A refusal is cheap, or a crowd of long texts would take the time of those let in."""
    service = await one_at_a_time(start, max_queue=1)
    calls = [asyncio.create_task(post(service, body("running")))]
    await reached(service)
    calls.append(asyncio.create_task(post(service, body("waiting"))))
    await waits(service.backend, 2)
    (engine,) = service.backend.embedders
    tokenized = []
    monkeypatch.setattr(engine, "tokenize_input", tokenized.append)
    response = await post(service, body("too many"))
    assert (response.status_code, tokenized) == (429, [])
    service.backend.token_gate.release()
    assert [one.status_code for one in await asyncio.gather(*calls)] == [200, 200]


async def test_client_that_hangs_up_frees_its_place(start):
    """While it runs, and while it waits; nothing is left, and the next one is answered."""
    service = await one_at_a_time(start)
    running = Call(service.app, body(["a"] * 100), path=EMBEDDINGS)
    await reached(service)
    waiting = Call(service.app, body("b"), path=EMBEDDINGS)
    await waits(service.backend, 2)
    await waiting.hang_up()
    await running.hang_up()
    following = asyncio.create_task(post(service, body("c")))
    await waits(service.backend, 3)
    service.backend.token_gate.release()
    assert (await following).status_code == 200
    (engine,) = service.backend.embedders
    stats = engine.stats()
    assert (stats.slots_busy, stats.queued, stats.steps) == (0, 0, 1)
    assert service.app.state.service.admission._in_flight == 0


async def test_client_that_hangs_up_while_the_model_loads_leaves_nothing(embedding):
    """The load goes on for others."""
    embedding.backend.load_gate.hold()
    call = Call(embedding.app, body(), path=EMBEDDINGS)
    assert await asyncio.to_thread(embedding.backend.load_gate.wait_reached)
    await call.hang_up()
    assert embedding.app.state.service.admission._in_flight == 0
    embedding.backend.load_gate.release()
    await ask(embedding)


async def test_shutdown_ends_a_request_with_an_error(start):
    """A waiting request gets an error, and a new one is refused."""
    service = await one_at_a_time(start)
    call = asyncio.create_task(post(service, body()))
    await reached(service)
    await service.app.state.service.drain(0)
    assert (await call).status_code == 500
    late = await post(service, body())
    assert (late.status_code, late.json()["error"]["code"]) == (503, "shutting_down")


async def test_embeddings_are_counted(embedding):
    """By model and outcome, their tokens too."""
    await ask(embedding, "hi")
    await post(embedding, body("x" * 100))
    text = (await embedding.client.get("/metrics")).text
    for line in (
        'pilotlight_requests_total{model="e",outcome="stop"} 1.0',
        'pilotlight_requests_total{model="e",outcome="context_length_exceeded"} 1.0',
        'pilotlight_prompt_tokens_total{model="e"} 3.0',
        'pilotlight_queued_requests{model="e"} 0.0',
    ):
        assert line in text


async def test_model_that_embeds_is_listed(embedding):
    """Beside the others, with its context."""
    await ask(embedding)
    listed = (await embedding.client.get("/v1/models/e")).json()
    assert (listed["id"], listed["state"], listed["context_length"]) == ("e", "ready", 64)
