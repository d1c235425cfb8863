"""Anthropic's official client, unmodified, against the live service."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from anthropic.types.shared import (
    AuthenticationErrorObject,
    ErrorResponse,
    InvalidRequestErrorObject,
    NotFoundErrorObject,
)
from pydantic import BaseModel

from tests.clients.servers import FakeServer
from tests.clients.strict_types import Extensions, misfits
from tests.conftest import events

QUESTION = [{"role": "user", "content": "What is 2+2?"}]
COUNT = [{"role": "user", "content": "Count from 1 to 20."}]
GREEDY = {"temperature": 0}
"""Sampling that the official client has no parameters for goes into `extra_body`."""
WEATHER = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
EXTENSIONS: Extensions = {
    # What this server knows of an error beside Anthropic's own fields.
    InvalidRequestErrorObject: frozenset({"param", "code"}),
    NotFoundErrorObject: frozenset({"param", "code"}),
    AuthenticationErrorObject: frozenset({"param", "code"}),
}


@pytest.fixture
def client(spark: Any) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=spark.url, api_key="none") as client:
        yield client


def post(server: Any, path: str = "/v1/messages", **body: Any) -> httpx.Response:
    return httpx.post(server.url + path, json=body, timeout=60)


def test_a_message(client: anthropic.Anthropic):
    """A whole answer is right."""
    answer = client.messages.create(
        model="spark", max_tokens=200, messages=QUESTION, extra_body=GREEDY
    )

    *_, text = answer.content
    assert text.type == "text"
    assert "4" in text.text
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens > 0


def test_a_stream(client: anthropic.Anthropic):
    """What the client's own helper makes of a stream is the whole answer."""
    asked = {"model": "spark", "max_tokens": 200, "messages": QUESTION, "extra_body": GREEDY}
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()

    assert "4" in text
    assert [block.model_dump(exclude_none=True) for block in final.content] == [
        block.model_dump(exclude_none=True) for block in whole.content
    ]
    assert (final.stop_reason, final.model, final.role) == ("end_turn", "spark", "assistant")
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_thinking(client: anthropic.Anthropic):
    """It is a block of its own where the model thinks, and none where that is turned off."""
    asked = {"model": "spark", "max_tokens": 200, "messages": QUESTION, "extra_body": GREEDY}
    thought = client.messages.create(**asked, thinking={"type": "enabled", "budget_tokens": 1024})
    plain = client.messages.create(**asked, thinking={"type": "disabled"})

    assert [block.type for block in thought.content] == ["thinking", "text"]
    assert thought.content[0].thinking
    assert thought.usage.output_tokens_details.thinking_tokens > 0
    assert [block.type for block in plain.content] == ["text"]


async def test_async(spark: Any):
    """The asynchronous client gets answers and streams, several at once."""
    async with anthropic.AsyncAnthropic(base_url=spark.url, api_key="none") as client:
        asked = {"model": "spark", "max_tokens": 200, "messages": QUESTION, "extra_body": GREEDY}
        answers = await asyncio.gather(*(client.messages.create(**asked) for _ in range(4)))
        async with client.messages.stream(**asked) as stream:
            final = await stream.get_final_message()

    texts = {answer.content[-1].text for answer in answers}
    assert texts == {final.content[-1].text}


def test_stop_sequences_and_max_tokens(client: anthropic.Anthropic):
    """Each ends the response, and the stop reason names which."""
    asked = {"model": "spark", "messages": COUNT, "thinking": {"type": "disabled"}}
    whole = client.messages.create(max_tokens=200, extra_body=GREEDY, **asked)
    cut = client.messages.create(
        max_tokens=200, stop_sequences=["x", "7"], extra_body=GREEDY, **asked
    )
    short = client.messages.create(max_tokens=5, **asked)

    assert cut.content[0].text == whole.content[0].text.split("7")[0]
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", "7")
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 5)


def test_a_prefill(client: anthropic.Anthropic):
    """The answer goes on from the last assistant message."""
    messages = [*COUNT, {"role": "assistant", "content": "1, 2, 3,"}]
    answer = client.messages.create(
        model="spark", max_tokens=200, messages=messages, extra_body=GREEDY
    )
    assert answer.content[0].text.lstrip().startswith("4")


def test_a_round_trip_with_a_tool(client: anthropic.Anthropic):
    """The model calls, gets the result, and answers from it; streamed and whole alike."""
    asked = {"model": "spark", "max_tokens": 200, "tools": [WEATHER], "extra_body": GREEDY}
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]

    called = client.messages.create(messages=messages, **asked)
    with client.messages.stream(messages=messages, **asked) as stream:
        streamed = stream.get_final_message()

    use = called.content[-1]
    assert (called.stop_reason, streamed.stop_reason) == ("tool_use", "tool_use")
    assert (use.type, use.name) == ("tool_use", "get_weather")
    assert use.input == streamed.content[-1].input == {"city": "Paris"}

    result = {"type": "tool_result", "tool_use_id": use.id, "content": '{"weather": "rain"}'}
    messages += [
        {"role": "assistant", "content": called.content},
        {"role": "user", "content": [result]},
    ]
    answer = client.messages.create(messages=messages, **asked)
    assert answer.stop_reason == "end_turn"
    assert "rain" in answer.content[-1].text


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_a_call_that_has_to_be(client: anthropic.Anthropic, choice: Any):
    """The model calls although the question needs no tool, with an input of its schema."""
    answer = client.messages.create(
        model="spark",
        max_tokens=200,
        messages=QUESTION,
        tools=[WEATHER],
        tool_choice=choice | {"disable_parallel_tool_use": True},
        extra_body=GREEDY,
    )
    use = answer.content[-1]
    assert (use.type, use.name, list(use.input)) == ("tool_use", "get_weather", ["city"])
    assert answer.stop_reason == "tool_use"


class Sum(BaseModel):
    """What an answer is parsed as."""

    result: int


def test_an_answer_in_a_form(client: anthropic.Anthropic):
    """The client's own helper makes a schema of a type, and the answer validates against it."""
    answer = client.messages.parse(
        model="spark",
        max_tokens=200,
        messages=QUESTION,
        output_format=Sum,
        thinking={"type": "disabled"},
        extra_body=GREEDY,
    )
    assert isinstance(answer.parsed_output, Sum)


def test_the_beta_namespace(client: anthropic.Anthropic):
    """Its requests differ in a query and a header, and are answered alike."""
    answer = client.beta.messages.create(
        model="spark", max_tokens=2000, messages=QUESTION, betas=["output-128k-2025-02-19"]
    )
    assert answer.stop_reason in {"end_turn", "model_context_window_exceeded"}


def test_count_tokens(client: anthropic.Anthropic):
    """The count is what a message with the same prompt is charged."""
    asked = {"model": "spark", "messages": QUESTION, "system": "Be brief.", "tools": [WEATHER]}
    counted = client.messages.count_tokens(**asked)
    usage = client.messages.create(max_tokens=1, **asked).usage
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_the_wire_is_the_clients_types(spark: Any):
    """Messages, events, counts and errors are what the client's types say, and nothing else."""
    asked = {"model": "spark", "max_tokens": 200, "temperature": 0}
    weather = [{"role": "user", "content": "What is the weather in Paris?"}]
    seen: set[Any] = set()
    for fields in (
        {"messages": QUESTION},
        {"messages": COUNT, "stop_sequences": ["7"]},
        {"messages": weather, "tools": [WEATHER]},
        {"messages": QUESTION, "max_tokens": 2},
    ):
        assert misfits(post(spark, **asked | fields).text, Message, EXTENSIONS) == []
        for event in events(post(spark, **asked | fields, stream=True).text):
            assert misfits(json.dumps(event), RawMessageStreamEvent, EXTENSIONS) == []
            seen |= {event["type"], event.get("delta", {}).get("type")}

    assert seen == {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "text_delta",
        "thinking_delta",
        "signature_delta",
        "input_json_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        None,
    }
    count = post(spark, "/v1/messages/count_tokens", model="spark", messages=QUESTION)
    assert misfits(count.text, MessageTokensCount, EXTENSIONS) == []
    for wrong in ({}, {"model": "nobody", "max_tokens": 1, "messages": QUESTION}):
        assert misfits(post(spark, **wrong).text, ErrorResponse, EXTENSIONS) == []


def test_models(fakes: Callable[..., FakeServer]):
    """They are listed over pages, and each can be looked up."""
    server = fakes(one={}, three={}, two={})
    with anthropic.Anthropic(base_url=server.url, api_key="none") as client:
        names = {model.id for model in client.models.list(limit=2)}
        model = client.models.retrieve("three")
        with pytest.raises(anthropic.NotFoundError) as nobody:
            client.models.retrieve("nobody")

    assert {"one", "two", "three"} <= names
    assert (model.id, model.type, model.max_input_tokens) == ("three", "model", 4096)
    assert nobody.value.type == "not_found_error"


def test_errors_are_the_clients_own(client: anthropic.Anthropic):
    """Errors arrive as the client's exceptions."""
    with pytest.raises(anthropic.NotFoundError) as nobody:
        client.messages.create(model="nobody", max_tokens=1, messages=QUESTION)
    with pytest.raises(anthropic.BadRequestError) as wrong:
        client.messages.create(model="spark", max_tokens=-1, messages=QUESTION)

    assert nobody.value.type == "not_found_error"
    assert "'nobody'" in nobody.value.api_message
    assert wrong.value.type == "invalid_request_error"
    assert wrong.value.body["error"]["param"] == "max_tokens"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_cold_model_ends_in_an_answer(cold: FakeServer, streamed: bool):  # noqa: FBT001 - a parameter of the test
    """With its default retries the client outlasts a load that is longer than the hold."""
    asked = {"model": "slow", "max_tokens": 9, "messages": QUESTION}

    with anthropic.Anthropic(base_url=cold.url, api_key="none") as client:
        if streamed:
            with client.messages.stream(**asked) as stream:
                answer = stream.get_final_message()
        else:
            answer = client.messages.create(**asked)

    assert answer.content[0].text == "Awake."
    assert cold.statuses[0] == 503
    assert cold.statuses[-1] == 200
    assert len(cold.statuses) <= 3  # the first try and the client's two retries


def test_a_model_that_never_loads_is_tried_once(troubled: FakeServer):
    """A client does not retry where the header says that it cannot help."""
    with (
        anthropic.Anthropic(base_url=troubled.url, api_key="none") as client,
        pytest.raises(anthropic.InternalServerError) as failed,
    ):
        client.messages.create(model="bad", max_tokens=9, messages=QUESTION)

    assert failed.value.type == "api_error"
    assert failed.value.body["error"]["code"] == "model_load_failed"
    assert troubled.statuses == [503]


def test_a_full_queue_is_a_rate_limit(full: FakeServer):
    """It is the client's own exception."""
    with (
        anthropic.Anthropic(base_url=full.url, api_key="none", max_retries=0) as client,
        pytest.raises(anthropic.RateLimitError) as refused,
    ):
        client.messages.create(model="m", max_tokens=9, messages=QUESTION)

    assert refused.value.type == "rate_limit_error"


def test_a_stream_that_breaks(fakes: Callable[..., FakeServer]):
    """What came before the fault arrives, the fault is the client's error."""
    server = fakes(m={"reply": "Hello.", "fail_after": 3})
    pieces: list[str] = []

    with anthropic.Anthropic(base_url=server.url, api_key="none") as client:
        stream = client.messages.create(model="m", max_tokens=9, messages=QUESTION, stream=True)
        with pytest.raises(anthropic.APIStatusError, match="fails after 3 tokens") as failed:
            pieces.extend(
                event.delta.text for event in stream if event.type == "content_block_delta"
            )

    assert "".join(pieces) == "Hel"
    assert failed.value.type == "api_error"


@pytest.mark.parametrize("given", [{"api_key": "s3cret"}, {"auth_token": "s3cret"}])
def test_a_right_key_is_let_in(closed: FakeServer, given: dict[str, str]):
    """As a key, which goes into `x-api-key`, or as a token, which is a bearer's."""
    nothing_else = {"api_key": None, "auth_token": None}
    with anthropic.Anthropic(base_url=closed.url, **nothing_else | given) as client:
        answer = client.messages.create(model="m", max_tokens=9, messages=QUESTION)
    assert answer.content[0].text == "Hello."


def test_a_wrong_key_is_the_clients_own_error(closed: FakeServer):
    """It is tried once, whatever is asked for."""
    with anthropic.Anthropic(base_url=closed.url, api_key="wrong") as client:
        with pytest.raises(anthropic.AuthenticationError) as refused:
            client.messages.create(model="m", max_tokens=9, messages=QUESTION)
        with pytest.raises(anthropic.AuthenticationError):
            client.messages.count_tokens(model="m", messages=QUESTION)

    assert refused.value.type == "authentication_error"
    assert misfits(refused.value.response.text, ErrorResponse, EXTENSIONS) == []
    assert closed.statuses == [401, 401]
