"""LangChain's `ChatOpenAI`, unmodified, against the live service."""

import asyncio
from typing import Any, Literal

import openai
import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.clients.servers import FakeServer
from tests.conftest import LiveServer

QUESTION = "What is 2+2?"
WEATHER = "What is the weather in Paris?"


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"sunny in {city}"


@pytest.fixture(autouse=True)
def _traced_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off what a developer's environment may have switched on: traces go to a service."""
    for variable in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(variable, "false")


def model(server: LiveServer | FakeServer, name: str = "spark", **options: Any) -> ChatOpenAI:
    """Return LangChain's model; by itself it asks for a stream's usage only of OpenAI's server."""
    return ChatOpenAI(
        model=name,
        base_url=f"{server.url}/v1",
        api_key="none",
        temperature=0,
        stream_usage=True,
        **options,
    )


def joined(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    """Put a stream together, as LangChain does."""
    whole, *rest = chunks
    for chunk in rest:
        whole += chunk
    return whole


def test_invoke(spark: LiveServer):
    """A conversation gets a response, and its usage is in LangChain's fields."""
    answer = model(spark).invoke([SystemMessage("You are helpful."), HumanMessage(QUESTION)])

    assert isinstance(answer, AIMessage)
    assert "4" in answer.content
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.response_metadata["model_name"] == "spark"
    usage = answer.usage_metadata
    assert usage is not None
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert 0 < usage["output_token_details"]["reasoning"] < usage["output_tokens"]
    assert usage["input_token_details"]["cache_read"] >= 0


def test_stream(spark: LiveServer):
    """The pieces are the whole answer, with the same usage."""
    whole = model(spark).invoke(QUESTION)
    chunks = list(model(spark).stream(QUESTION))

    assert len(chunks) > 3
    streamed = joined(chunks)
    assert streamed.content == whole.content
    assert streamed.response_metadata["finish_reason"] == "stop"
    assert streamed.usage_metadata["output_tokens"] == whole.usage_metadata["output_tokens"]


async def test_async(spark: LiveServer):
    """The asynchronous half: several at once, and a stream."""
    asked = model(spark)

    answers = await asyncio.gather(*(asked.ainvoke(QUESTION) for _ in range(3)))
    streamed = joined([chunk async for chunk in asked.astream(QUESTION)])

    assert {answer.content for answer in answers} == {streamed.content}


def test_batch(spark: LiveServer):
    """A batch is asked from threads, and answered in its order."""
    first, second = model(spark).batch([QUESTION, "What is the capital of France?"])

    assert "4" in first.content
    assert "Paris" in second.content


def test_a_tool_call_and_its_result(spark: LiveServer):
    """A bound tool is called, whole and streamed, and its result is answered to."""
    asked = model(spark).bind_tools([get_weather])

    called = asked.invoke(WEATHER)
    streamed = joined(list(asked.stream(WEATHER)))

    (call,) = called.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
    assert called.response_metadata["finish_reason"] == "tool_calls"
    assert not called.invalid_tool_calls
    assert [(one["name"], one["args"]) for one in streamed.tool_calls] == [
        ("get_weather", {"city": "Paris"})
    ]

    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage)
    answer = asked.invoke([HumanMessage(WEATHER), called, result])
    assert "sunny" in answer.content.lower()
    assert not answer.tool_calls


def test_a_tool_that_is_not_needed(spark: LiveServer):
    """`auto` leaves it to the model."""
    answer = model(spark).bind_tools([get_weather], tool_choice="auto").invoke(QUESTION)

    assert not answer.tool_calls
    assert "4" in answer.content


@pytest.mark.parametrize(
    ("name", "options", "kind", "code"),
    [
        ("m", {"stop": [""]}, openai.BadRequestError, "invalid_request_error"),
        ("nobody", {}, openai.NotFoundError, "model_not_found"),
        ("broken", {}, openai.InternalServerError, "inference_error"),
        ("bad", {}, openai.InternalServerError, "model_load_failed"),
    ],
)
def test_errors(troubled: FakeServer, name: str, options: Any, kind: type, code: str):
    """They are those of OpenAI's client, whole or streamed."""
    asked = model(troubled, name, max_retries=0)

    with pytest.raises(kind) as wrong:
        asked.invoke(QUESTION, **options)

    assert isinstance(wrong.value, openai.APIStatusError)
    assert wrong.value.code == code
    assert troubled.statuses == [wrong.value.status_code]


def test_an_error_of_a_stream(troubled: FakeServer):
    """What is refused before a stream begins is raised by its first piece."""
    with pytest.raises(openai.NotFoundError):
        next(model(troubled, "nobody").stream(QUESTION))


def test_a_full_queue(full: FakeServer):
    """Too many requests are the client's `RateLimitError`."""
    with pytest.raises(openai.RateLimitError):
        model(full, "m", max_retries=0).invoke(QUESTION)


def test_a_cold_model_ends_in_an_answer(cold: FakeServer):
    """With its default retries the client outlasts a load that is longer than the hold."""
    assert model(cold, "slow").invoke(QUESTION).content == "Awake."
    assert cold.statuses[0] == 503
    assert cold.statuses[-1] == 200
    assert len(cold.statuses) <= 3


class Forecast(BaseModel):
    """A forecast."""

    city: Literal["Paris", "Rome"]
    sunny: bool


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(spark: LiveServer, method: str):
    """The output matches the schema, of a response format or of a required call."""
    structured = model(spark).with_structured_output(Forecast, method=method)

    assert isinstance(structured.invoke(WEATHER), Forecast)


def test_log_probabilities(spark: LiveServer):
    """They stand where LangChain looks for them."""
    answer = model(spark, logprobs=True, top_logprobs=2).invoke(QUESTION)

    told = answer.response_metadata["logprobs"]["content"]
    assert "".join(token["token"] for token in told) == answer.content
    assert all(len(token["top_logprobs"]) == 2 for token in told)
