"""Anthropic's official client, unmodified, against the live service."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import (
    Message,
    MessageTokensCount,
    RawContentBlockDeltaEvent,
    RawContentBlockStartEvent,
    RawContentBlockStopEvent,
    RawMessageDeltaEvent,
    RawMessageStartEvent,
    RawMessageStopEvent,
)
from anthropic.types.shared import ErrorResponse
from pydantic import BaseModel

from pilotlight.app import create_app
from pilotlight.config import Settings
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
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
EVENTS = {
    "message_start": RawMessageStartEvent,
    "content_block_start": RawContentBlockStartEvent,
    "content_block_delta": RawContentBlockDeltaEvent,
    "content_block_stop": RawContentBlockStopEvent,
    "message_delta": RawMessageDeltaEvent,
    "message_stop": RawMessageStopEvent,
}


def unknown(value: Any) -> dict[str, Any]:
    """Return what a validated model has that its type does not know, at any depth."""
    if isinstance(value, list):
        return {name: extra for item in value for name, extra in unknown(item).items()}
    if not isinstance(value, BaseModel):
        return {}
    found = dict(value.model_extra or {})
    for name in type(value).model_fields:
        found |= unknown(getattr(value, name))
    return found


def assert_is(kind: type[BaseModel], sent: Any, *, extra: frozenset[str] = frozenset()) -> None:
    """Show that *sent*, as it came, is a *kind*: nothing missing, nothing wrong, nothing unknown.

    The client builds its objects without validation, so it would not tell.
    """
    assert set(unknown(kind.model_validate_json(json.dumps(sent), strict=True))) == extra


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
    """Each ends the answer, and the stop reason tells which."""
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
    seen = set()
    for fields in (
        {"messages": QUESTION},
        {"messages": COUNT, "stop_sequences": ["7"]},
        {"messages": weather, "tools": [WEATHER]},
        {"messages": QUESTION, "max_tokens": 2},
    ):
        assert_is(Message, post(spark, **asked | fields).json())
        for event in events(post(spark, **asked | fields, stream=True).text):
            assert_is(EVENTS[event["type"]], event)
            seen.add((event["type"], event.get("delta", {}).get("type")))

    assert {kind for kind, _ in seen} == set(EVENTS)
    deltas = {"text_delta", "thinking_delta", "signature_delta", "input_json_delta"}
    assert deltas <= {delta for _, delta in seen}
    count = post(spark, "/v1/messages/count_tokens", model="spark", messages=QUESTION)
    assert_is(MessageTokensCount, count.json())
    for wrong in ({}, {"model": "nobody", "max_tokens": 1, "messages": QUESTION}):
        assert_is(ErrorResponse, post(spark, **wrong).json(), extra=frozenset({"code", "param"}))


def test_errors_are_the_clients_own(client: anthropic.Anthropic):
    """Errors arrive as the client's exceptions."""
    with pytest.raises(anthropic.NotFoundError) as nobody:
        client.messages.create(model="nobody", max_tokens=1, messages=QUESTION)
    with pytest.raises(anthropic.BadRequestError) as wrong:
        client.messages.create(model="spark", max_tokens=0, messages=QUESTION)

    assert nobody.value.type == "not_found_error"
    assert "'nobody'" in nobody.value.api_message
    assert wrong.value.type == "invalid_request_error"
    assert wrong.value.body["error"]["param"] == "max_tokens"


class Counting(anthropic.DefaultHttpxClient):
    """Tells the status of each try."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        super().__init__(
            event_hooks={"response": [lambda answer: self.seen.append(answer.status_code)]}
        )


def fake(folder: Path, serve: Callable[..., Any], **settings: Any) -> Any:
    given = {"models_dir": folder, "models_file": folder / "none.yaml"} | settings
    return serve(create_app(Settings(**given), backends={"fake": FakeBackend()}))


@pytest.mark.parametrize("streamed", [False, True])
def test_a_cold_model_ends_in_an_answer(tmp_path: Path, serve: Callable[..., Any], streamed: bool):  # noqa: FBT001 - a parameter of the test
    """With its default retries the client outlasts a load that is longer than the hold."""
    FakeModel(reply="Awake.", load_seconds=2.0, load_steps=20).write(tmp_path / "slow.fake")
    server = fake(tmp_path, serve, hold=0.5)
    http = Counting()
    asked = {"model": "slow", "max_tokens": 9, "messages": QUESTION}

    with anthropic.Anthropic(base_url=server.url, api_key="none", http_client=http) as client:
        if streamed:
            with client.messages.stream(**asked) as stream:
                answer = stream.get_final_message()
        else:
            answer = client.messages.create(**asked)

    assert answer.content[0].text == "Awake."
    assert http.seen[0] == 503
    assert http.seen[-1] == 200
    assert len(http.seen) <= 3  # the first try and the client's two retries


def test_a_model_that_never_loads_is_tried_once(tmp_path: Path, serve: Callable[..., Any]):
    """Where no try can help the client is told so, and makes none."""
    FakeModel(load_error="invalid").write(tmp_path / "bad.fake")
    http = Counting()

    with (
        anthropic.Anthropic(
            base_url=fake(tmp_path, serve).url, api_key="none", http_client=http
        ) as client,
        pytest.raises(anthropic.InternalServerError) as failed,
    ):
        client.messages.create(model="bad", max_tokens=9, messages=QUESTION)

    assert failed.value.type == "api_error"
    assert failed.value.body["error"]["code"] == "model_load_failed"
    assert http.seen == [503]


def test_a_stream_that_breaks(tmp_path: Path, serve: Callable[..., Any]):
    """What came before the fault arrives, the fault is the client's error."""
    FakeModel(reply="Hello.", fail_after=3).write(tmp_path / "m.fake")
    pieces: list[str] = []

    with anthropic.Anthropic(base_url=fake(tmp_path, serve).url, api_key="none") as client:
        stream = client.messages.create(model="m", max_tokens=9, messages=QUESTION, stream=True)
        with pytest.raises(anthropic.APIStatusError, match="fails after 3 tokens") as failed:
            pieces.extend(
                event.delta.text for event in stream if event.type == "content_block_delta"
            )

    assert "".join(pieces) == "Hel"
    assert failed.value.type == "api_error"
