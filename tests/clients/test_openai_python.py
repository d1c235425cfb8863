"""The official Python client, unmodified, against the live service."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from pilotlight.config import Settings
from pilotlight.server.app import create_app
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
from tests.clients.servers import FakeServer

QUESTION = [{"role": "user", "content": "What is 2+2?"}]
COUNT = [{"role": "user", "content": "Count from 1 to 20."}]
PLAIN = {"chat_template_kwargs": {"enable_thinking": False}}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture
def client(spark: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{spark.url}/v1", api_key="none") as client:
        yield client


def test_an_answer(client: openai.OpenAI):
    """A whole answer is right, and everything that the client's types require is there."""
    answer = client.chat.completions.create(model="spark", messages=QUESTION, temperature=0)

    assert "4" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    # The client builds its objects without validation; this validates them strictly.
    type(answer).model_validate(answer.model_dump(), strict=True)


def test_a_stream(client: openai.OpenAI):
    """The pieces of a stream are the whole answer."""
    whole = client.chat.completions.create(model="spark", messages=QUESTION, temperature=0)

    chunks = list(
        client.chat.completions.create(
            model="spark",
            messages=QUESTION,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )

    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    for chunk in chunks:
        type(chunk).model_validate(chunk.model_dump(), strict=True)


async def test_async(spark: Any):
    """The asynchronous client gets answers and streams, several at once."""
    async with openai.AsyncOpenAI(base_url=f"{spark.url}/v1", api_key="none") as client:
        create = client.chat.completions.create
        answers = await asyncio.gather(
            *(create(model="spark", messages=QUESTION, temperature=0) for _ in range(4))
        )
        stream = await create(model="spark", messages=QUESTION, temperature=0, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]

    contents = {answer.choices[0].message.content for answer in answers}
    assert contents == {"".join(pieces)}


def test_stop_ends_the_answer_before_it(client: openai.OpenAI):
    """A stop string is not in the answer, and nothing after it is."""
    whole = client.chat.completions.create(
        model="spark", messages=COUNT, temperature=0, extra_body=PLAIN
    )
    cut = client.chat.completions.create(
        model="spark", messages=COUNT, temperature=0, stop=["7"], extra_body=PLAIN
    )

    assert "7" in whole.choices[0].message.content
    assert cut.choices[0].message.content == whole.choices[0].message.content.split("7")[0]
    assert cut.choices[0].finish_reason == "stop"


def test_max_tokens_ends_the_answer(client: openai.OpenAI):
    """A response that is cut has finish reason `length`, and counts its tokens."""
    answer = client.chat.completions.create(model="spark", messages=COUNT, max_tokens=5)

    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 5


def test_a_seed_repeats(client: openai.OpenAI):
    """The same seed gives the same answer; among others there is a different one."""

    def answer(seed: int) -> str:
        whole = client.chat.completions.create(
            model="spark",
            messages=[{"role": "user", "content": "Tell me a story."}],
            temperature=2.0,
            top_p=1.0,
            seed=seed,
            max_tokens=30,
            extra_body={"top_k": 0},
        )
        message = whole.choices[0].message
        return f"{message.model_extra.get('reasoning_content')} {message.content}"

    assert answer(7) == answer(7)
    assert len({answer(seed) for seed in range(6)}) > 1


def test_a_tool_call(client: openai.OpenAI):
    """A tool that the question needs is called, in a stream just as in a whole answer."""
    asked = {
        "model": "spark",
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "tools": [WEATHER],
        "temperature": 0,
    }

    choice = client.chat.completions.create(**asked).choices[0]
    deltas = [
        call
        for chunk in client.chat.completions.create(**asked, stream=True)
        for call in chunk.choices[0].delta.tool_calls or ()
    ]

    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert call.function.name == deltas[0].function.name == "get_weather"
    assert deltas[0].id.startswith("call_")
    arguments = "".join(delta.function.arguments or "" for delta in deltas)
    assert arguments == call.function.arguments


def test_errors_are_the_clients_own(client: openai.OpenAI):
    """Errors arrive as the client's exceptions, with the field at fault."""
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="nobody", messages=QUESTION)
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="spark", messages=QUESTION, stop="")

    assert unknown.value.code == "model_not_found"
    assert wrong.value.param == "stop"


def test_models(client: openai.OpenAI):
    """The models can be listed and looked up."""
    assert "spark" in [model.id for model in client.models.list()]
    assert client.models.retrieve("spark").owned_by == "pilotlight"


def test_a_cold_model_ends_in_an_answer(tmp_path: Path, serve: Callable[..., Any]):
    """With its default retries the client outlasts a load that is longer than the hold."""
    FakeModel(reply="Awake.", load_seconds=1.0, load_steps=20).write(tmp_path / "slow.fake")
    settings = Settings(models_dir=tmp_path, models_file=tmp_path / "none.yaml", hold=0.2)
    server = serve(create_app(settings, backends={"fake": FakeBackend()}))
    seen: list[int] = []
    http = httpx.Client(event_hooks={"response": [lambda answer: seen.append(answer.status_code)]})

    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", http_client=http) as client:
        answer = client.chat.completions.create(model="slow", messages=QUESTION)

    assert answer.choices[0].message.content == "Awake."
    assert seen[0] == 503
    assert seen[-1] == 200
    assert len(seen) <= 3  # the first try and the client's two retries


def test_a_model_that_never_loads_is_tried_once(tmp_path: Path, serve: Callable[..., Any]):
    """A client does not retry where the header says that it cannot help."""
    FakeModel(load_error="invalid").write(tmp_path / "bad.fake")
    settings = Settings(models_dir=tmp_path, models_file=tmp_path / "none.yaml")
    server = serve(create_app(settings, backends={"fake": FakeBackend()}))
    seen: list[int] = []
    http = httpx.Client(event_hooks={"response": [lambda answer: seen.append(answer.status_code)]})

    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", http_client=http) as client,
        pytest.raises(openai.InternalServerError) as failed,
    ):
        client.chat.completions.create(model="bad", messages=QUESTION)

    assert failed.value.code == "model_load_failed"
    assert seen == [503]


def test_a_stream_that_breaks(tmp_path: Path, serve: Callable[..., Any]):
    """What came before the fault arrives, the fault is the client's `APIError`."""
    FakeModel(reply="Hello.", fail_after=3).write(tmp_path / "m.fake")
    settings = Settings(models_dir=tmp_path, models_file=tmp_path / "none.yaml")
    server = serve(create_app(settings, backends={"fake": FakeBackend()}))
    chunks: list[Any] = []

    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        stream = client.chat.completions.create(model="m", messages=QUESTION, stream=True)
        with pytest.raises(openai.APIError, match="fails after 3 tokens"):
            chunks.extend(stream)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hel"


def test_a_right_key_is_let_in(closed: FakeServer):
    """Answers, streams and models are as without keys."""
    with openai.OpenAI(base_url=closed.base_url, api_key="s3cret") as client:
        asked: Any = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        answer = client.chat.completions.create(**asked)
        stream = client.chat.completions.create(**asked, stream=True)
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
        assert client.models.retrieve("m").id == "m"

    assert answer.choices[0].message.content == "".join(pieces) == "Hello."


def test_a_wrong_key_is_the_clients_own_error(closed: FakeServer):
    """It is tried once, for a stream and for a model alike."""
    with openai.OpenAI(base_url=closed.base_url, api_key="wrong") as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hi"}], stream=True
            )
        with pytest.raises(openai.AuthenticationError):
            client.models.list()

    assert (refused.value.code, refused.value.type) == ("invalid_api_key", "invalid_request_error")
    assert refused.value.response.headers["www-authenticate"] == "Bearer"
    assert closed.statuses == [401, 401]
