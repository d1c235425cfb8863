"""The official client's Responses API, unmodified, against the live service."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

from pilotlight.config import Settings
from pilotlight.server.app import create_app
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
from tests.clients.strict_types import misfits
from tests.conftest import RESPONSES, events

QUESTION = "What is 2+2?"
STRAIGHT = {"effort": "none"}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
    "strict": False,
}
ASK_WEATHER = {"role": "user", "content": "What is the weather in Paris?"}


@pytest.fixture
def client(spark: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{spark.url}/v1", api_key="none") as client:
        yield client


ASKED = [
    {"input": QUESTION},
    {"input": QUESTION, "max_output_tokens": 3},
    {"input": QUESTION, "max_output_tokens": 2, "reasoning": {"effort": "none"}},
    {
        "input": [{"role": "user", "content": QUESTION}],
        "instructions": "Be brief.",
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
        "metadata": {"order": "7"},
    },
    {
        "input": [ASK_WEATHER],
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "name": "get_weather"},
        "parallel_tool_calls": False,
    },
    {
        "input": [ASK_WEATHER],
        "tools": [WEATHER],
        "tool_choice": {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "get_weather"}],
        },
    },
    {
        "input": QUESTION,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "integer"}}},
        "reasoning": {"effort": "none", "summary": "auto"},
    },
]


@pytest.mark.parametrize("fields", ASKED)
def test_everything_fits_the_clients_types(spark: Any, fields: dict[str, Any]):
    """No field of a response or an event is missing, misspelled, or of another type."""
    body = {"model": "spark", "temperature": 0, **fields}

    whole = httpx.post(spark.url + RESPONSES, json=body, timeout=60)
    stream = httpx.post(spark.url + RESPONSES, json=body | {"stream": True}, timeout=60)

    assert whole.status_code == stream.status_code == 200, whole.text
    told = events(stream.text)
    assert misfits(whole.content, Response) == []
    assert [misfits(msgspec.json.encode(event), ResponseStreamEvent) for event in told] == (
        [[]] * len(told)
    )
    assert [item["type"] for item in told[-1]["response"]["output"]] == [
        item["type"] for item in whole.json()["output"]
    ]


def test_a_response(client: openai.OpenAI):
    """A whole answer is right."""
    response = client.responses.create(model="spark", input=QUESTION, temperature=0)

    assert "4" in response.output_text
    assert response.status == "completed"
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    thoughts = [item for item in response.output if item.type == "reasoning"]
    assert bool(thoughts) == (response.usage.output_tokens_details.reasoning_tokens > 0)


def test_a_stream(client: openai.OpenAI):
    """What the client gathers from the events is the final response, and the whole one."""
    whole = client.responses.create(model="spark", input=QUESTION, temperature=0)

    with client.responses.stream(model="spark", input=QUESTION, temperature=0) as stream:
        snapshots = [
            event.snapshot for event in stream if event.type == "response.output_text.delta"
        ]
        final = stream.get_final_response()

    assert snapshots[-1] == final.output_text == whole.output_text
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert [item.type for item in final.output] == [item.type for item in whole.output]


async def test_async(spark: Any):
    """The asynchronous client gets a stream too."""
    async with (
        openai.AsyncOpenAI(base_url=f"{spark.url}/v1", api_key="none") as client,
        client.responses.stream(model="spark", input=QUESTION, temperature=0) as stream,
    ):
        pieces = [
            event.delta async for event in stream if event.type == "response.output_text.delta"
        ]
        final = await stream.get_final_response()

    assert "".join(pieces) == final.output_text


def test_a_function_is_called_and_its_result_told(client: openai.OpenAI):
    """The output is appended as it is, then what the function returned; the answer follows."""
    given: list[Any] = [ASK_WEATHER]
    asked = {"model": "spark", "tools": [WEATHER], "temperature": 0}

    first = client.responses.create(**asked, input=given)
    (call,) = (item for item in first.output if item.type == "function_call")
    given += first.output
    given.append(
        {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny, 21 degrees."}
    )
    second = client.responses.create(**asked, input=given)

    assert call.name == "get_weather"
    assert "Paris" in call.arguments
    assert "21" in second.output_text or "sunny" in second.output_text.lower()
    assert second.usage.input_tokens > first.usage.input_tokens


def test_a_call_in_a_stream(client: openai.OpenAI):
    """The arguments' pieces are the call's arguments."""
    with client.responses.stream(
        model="spark", input=[ASK_WEATHER], tools=[WEATHER], temperature=0
    ) as stream:
        snapshots = [
            event.snapshot
            for event in stream
            if event.type == "response.function_call_arguments.delta"
        ]
        final = stream.get_final_response()

    (call,) = (item for item in final.output if item.type == "function_call")
    assert call.arguments == snapshots[-1]


class Sum(BaseModel):
    """What the model is to answer with."""

    a: int
    b: int


def test_an_answer_of_a_type(client: openai.OpenAI):
    """A pydantic type is a form, and the client reads the answer as that type."""
    response = client.responses.parse(
        model="spark", input=QUESTION, temperature=0, text_format=Sum, reasoning=STRAIGHT
    )
    with client.responses.stream(
        model="spark", input=QUESTION, temperature=0, text_format=Sum, reasoning=STRAIGHT
    ) as stream:
        final = stream.get_final_response()

    assert isinstance(response.output_parsed, Sum)
    assert final.output_parsed == response.output_parsed


def test_an_answer_that_is_cut(client: openai.OpenAI):
    """The response is `incomplete`, in a stream as well; the client has no final response then."""
    response = client.responses.create(model="spark", input="Count to 20.", max_output_tokens=5)
    stream = client.responses.create(
        model="spark", input="Count to 20.", max_output_tokens=5, stream=True
    )

    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage.output_tokens == 5
    assert list(stream)[-1].type == "response.incomplete"


def test_errors_are_the_clients_own(client: openai.OpenAI):
    """Errors arrive as the client's exceptions, with the field at fault."""
    with pytest.raises(openai.NotFoundError) as unknown_model:
        client.responses.create(model="nobody", input=QUESTION)
    with pytest.raises(openai.BadRequestError) as stateful:
        client.responses.create(model="spark", input=QUESTION, previous_response_id="resp_1")
    with pytest.raises(openai.BadRequestError) as built_in:
        client.responses.create(model="spark", input=QUESTION, tools=[{"type": "retrieval"}])

    assert unknown_model.value.code == "model_not_found"
    assert stateful.value.param == "previous_response_id"
    assert built_in.value.param == "tools[0].type"


def test_a_stream_that_breaks(tmp_path: Path, serve: Callable[..., Any]):
    """The failed response arrives with what came before, then the fault is an `APIError`."""
    FakeModel(reply="Hello.", fail_after=3).write(tmp_path / "m.fake")
    settings = Settings(models_dir=tmp_path, models_file=tmp_path / "none.yaml")
    server = serve(create_app(settings, backends={"fake": FakeBackend()}))
    told: list[Any] = []

    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        stream = client.responses.create(model="m", input=QUESTION, stream=True)
        with pytest.raises(openai.APIError, match="fails after 3 tokens"):
            told.extend(stream)
    body = {"model": "m", "input": QUESTION, "stream": True}
    sent = events(httpx.post(server.url + RESPONSES, json=body).text)

    assert told[-1].type == "response.failed"
    assert told[-1].response.output_text == "Hel"
    assert [event["type"] for event in sent[-2:]] == ["response.failed", "error"]
    for event in sent:
        assert misfits(msgspec.json.encode(event), ResponseStreamEvent) == []


def test_a_cold_model_ends_in_an_answer(tmp_path: Path, serve: Callable[..., Any]):
    """With its default retries the client outlasts a load that is longer than the hold."""
    FakeModel(reply="Awake.", load_seconds=1.0, load_steps=20).write(tmp_path / "slow.fake")
    settings = Settings(models_dir=tmp_path, models_file=tmp_path / "none.yaml", hold=0.2)
    server = serve(create_app(settings, backends={"fake": FakeBackend()}))

    with (
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client,
        client.responses.stream(model="slow", input=QUESTION) as stream,
    ):
        final = stream.get_final_response()

    assert final.output_text == "Awake."
