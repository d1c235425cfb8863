"""The whole of chat completions with OpenAI's Python client, in its own types."""

import json
import math
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from tests.clients.strict_types import misfits
from tests.conftest import CHAT, LiveServer

QUESTION = [{"role": "user", "content": "What is 2+2?"}]
STRAIGHT = {"chat_template_kwargs": {"enable_thinking": False}}


class Weather(BaseModel):
    """A forecast."""

    city: Literal["Paris", "Rome"]
    days: Literal[1, 2, 3]
    sunny: bool


class Look(BaseModel):
    """Look somewhere."""

    at: Literal["sky", "sea"]
    seconds: Literal[1, 5]


WEATHER = openai.pydantic_function_tool(Weather, name="weather")
LOOK = openai.pydantic_function_tool(Look, name="look")


@pytest.fixture
def client(spark: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{spark.url}/v1", api_key="none", max_retries=0) as client:
        yield client


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "several answers": {"n": 3, "seed": 7},
    "log probabilities": {"logprobs": True, "top_logprobs": 3},
    "log probabilities alone": {"logprobs": True},
    "a call": {"tools": [WEATHER, LOOK], "tool_choice": "required"},
    "a named call": {
        "tools": [WEATHER, LOOK],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": False,
    },
    "an allowed call": {
        "tools": [WEATHER, LOOK],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "look"}}],
            },
        },
    },
    "a schema": {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "weather", "schema": Weather.model_json_schema()},
        }
    },
    "an effort": {"reasoning_effort": "low"},
    "no thinking": {"reasoning_effort": "none"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_answers_are_of_the_clients_types(spark: LiveServer, name: str):
    """Whatever is asked for, an answer has all that its type requires and nothing foreign."""
    body = {"model": "spark", "messages": QUESTION, "max_tokens": 80, **VARIANTS[name]}

    response = httpx.post(spark.url + CHAT, json=body, timeout=60)

    assert response.status_code == 200, response.text
    assert misfits(response.content, ChatCompletion) == []


@pytest.mark.parametrize("name", VARIANTS)
def test_chunks_are_of_the_clients_types(spark: LiveServer, name: str):
    """So has every chunk of a stream."""
    options = {"stream": True, "stream_options": {"include_usage": True}}
    body = {"model": "spark", "messages": QUESTION, "max_tokens": 80, **VARIANTS[name], **options}

    response = httpx.post(spark.url + CHAT, json=body, timeout=60)

    *chunks, done = [
        message.removeprefix("data: ")
        for message in response.text.split("\n\n")
        if message and not message.startswith(":")
    ]
    assert done == "[DONE]"
    assert [misfit for chunk in chunks for misfit in misfits(chunk, ChatCompletionChunk)] == []


def test_a_parsed_answer(client: openai.OpenAI):
    """`parse` makes its model of the answer, for the schema left the model no other way."""
    answer = client.chat.completions.parse(
        model="spark",
        messages=[{"role": "user", "content": "The weather in Paris, as JSON"}],
        response_format=Weather,
    )

    assert isinstance(answer.choices[0].message.parsed, Weather)


@pytest.mark.parametrize("seed", range(3))
def test_a_parsed_call(client: openai.OpenAI, seed: int):
    """`parse` makes its model of the arguments of a call that had to be made."""
    answer = client.chat.completions.parse(
        model="spark",
        messages=[{"role": "user", "content": "Hello"}],
        tools=[LOOK],
        tool_choice={"type": "function", "function": {"name": "look"}},
        parallel_tool_calls=False,
        seed=seed,
    )

    (call,) = answer.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Look)
    assert answer.choices[0].finish_reason == "tool_calls"


def test_a_streamed_answer_that_is_parsed(client: openai.OpenAI):
    """The client's own accumulator puts the stream together, and parses it."""
    with client.chat.completions.stream(
        model="spark",
        messages=[{"role": "user", "content": "The weather in Rome, as JSON"}],
        response_format=Weather,
    ) as stream:
        kinds = {event.type for event in stream}
        answer = stream.get_final_completion()

    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert isinstance(answer.choices[0].message.parsed, Weather)


def test_a_streamed_call_that_has_to_be_made(client: openai.OpenAI):
    """The id and the name come first and once, the arguments in pieces."""
    with client.chat.completions.stream(
        model="spark",
        messages=[{"role": "user", "content": "Hello"}],
        tools=[LOOK],
        tool_choice="required",
        parallel_tool_calls=False,
    ) as stream:
        deltas = [
            delta
            for event in stream
            if event.type == "chunk" and event.chunk.choices
            for delta in event.chunk.choices[0].delta.tool_calls or ()
        ]
        answer = stream.get_final_completion()

    assert deltas[0].id
    assert deltas[0].function.name == "look"
    assert all(delta.id is None and delta.function.name is None for delta in deltas[1:])
    arguments = "".join(delta.function.arguments or "" for delta in deltas)
    assert set(json.loads(arguments)) == {"at", "seconds"}
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.arguments == arguments


def test_log_probabilities_are_probabilities(client: openai.OpenAI):
    """A greedy token is the likeliest, and those beside it come to less than 1 in all."""
    answer = client.chat.completions.create(
        model="spark",
        messages=QUESTION,
        temperature=0,
        logprobs=True,
        top_logprobs=5,
        extra_body=STRAIGHT,
    )

    choice = answer.choices[0]
    told = choice.logprobs.content
    assert b"".join(bytes(token.bytes) for token in told).decode() == choice.message.content
    for token in told:
        assert token.top_logprobs[0].token == token.token
        assert token.logprob == token.top_logprobs[0].logprob <= 0
        assert sum(math.exp(one.logprob) for one in token.top_logprobs) <= 1.0001


def test_several_answers_are_repeatable(client: openai.OpenAI):
    """With a seed the answers are the same again, and each is one of its own."""
    ask = {"model": "spark", "messages": QUESTION, "n": 4, "seed": 3, "max_tokens": 40}
    free = {"temperature": 2, "top_p": 1, "top_k": 0}

    first, second = (client.chat.completions.create(**ask, extra_body=free) for _ in range(2))

    said = [choice.message.content for choice in first.choices]
    assert said == [choice.message.content for choice in second.choices]
    assert len(set(said)) > 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"n": 0}, "n"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"not": {}}},
                }
            },
            "response_format.json_schema.schema.not",
        ),
    ],
)
def test_what_cannot_be_honoured(client: openai.OpenAI, fields: dict[str, Any], param: str):
    """The client's error names the field."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="spark", messages=QUESTION, extra_body=fields)

    assert refused.value.param == param
