"""LiteLLM, unmodified, against the live service: the model is `openai/spark`, with `api_base`."""

import asyncio
import json
from types import ModuleType
from typing import Any

import pytest

from tests.clients.servers import FakeServer
from tests.conftest import LiveServer

pytestmark = [
    # Its types are built when they are first used, and pydantic warns of a qualifier in some.
    pytest.mark.filterwarnings("ignore:Item '.*' on TypedDict class:UserWarning"),
    # It reads every attribute of a chunk that has a usage.
    pytest.mark.filterwarnings("ignore:Accessing the 'model_.*fields' attribute on the instance"),
]

QUESTION = [{"role": "user", "content": "What is 2+2?"}]
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


def at(server: LiveServer | FakeServer, name: str = "spark", **fields: Any) -> dict[str, Any]:
    """Return what every call is given."""
    given = {
        "model": f"openai/{name}",
        "api_base": f"{server.url}/v1",
        "api_key": "none",
        "messages": QUESTION,
        "temperature": 0,
    }
    return given | fields


def test_completion(litellm: ModuleType, spark: LiveServer):
    """A whole answer, its usage, and the thinking under LiteLLM's own name for it."""
    answer = litellm.completion(**at(spark))

    choice = answer.choices[0]
    assert "4" in choice.message.content
    assert choice.finish_reason == "stop"
    assert choice.message.reasoning_content
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens_details.reasoning_tokens > 0


def test_stream(litellm: ModuleType, spark: LiveServer):
    """The pieces are the whole answer; LiteLLM puts them together with their usage."""
    whole = litellm.completion(**at(spark))
    chunks = list(
        litellm.completion(**at(spark, stream=True, stream_options={"include_usage": True}))
    )

    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    built = litellm.stream_chunk_builder(chunks, messages=QUESTION)
    assert built.choices[0].message.content == whole.choices[0].message.content
    assert built.choices[0].message.reasoning_content == whole.choices[0].message.reasoning_content
    assert built.choices[0].finish_reason == "stop"
    assert built.usage.completion_tokens == whole.usage.completion_tokens


async def test_acompletion(litellm: ModuleType, spark: LiveServer):
    """The asynchronous half: several at once, and a stream."""
    answers = await asyncio.gather(*(litellm.acompletion(**at(spark)) for _ in range(3)))
    stream = await litellm.acompletion(**at(spark, stream=True))
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]

    assert {answer.choices[0].message.content for answer in answers} == {"".join(pieces)}


def test_a_tool_call_and_its_result(litellm: ModuleType, spark: LiveServer):
    """A tool is called, whole and streamed, and its result is answered to."""
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    asked = at(spark, messages=messages, tools=[WEATHER])

    choice = litellm.completion(**asked).choices[0]
    built = litellm.stream_chunk_builder(list(litellm.completion(**asked, stream=True)))

    (call,) = choice.message.tool_calls
    (streamed,) = built.choices[0].message.tool_calls
    assert choice.finish_reason == built.choices[0].finish_reason == "tool_calls"
    assert call.function.name == streamed.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    assert streamed.function.arguments == call.function.arguments

    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    # The library's own message is sent back, as its guide has it, with every field it added.
    answer = litellm.completion(**asked | {"messages": [*messages, choice.message, result]})
    assert "sunny" in answer.choices[0].message.content.lower()


@pytest.mark.parametrize(
    ("name", "fields", "kind", "status"),
    [
        ("m", {"stop": [""]}, "BadRequestError", 400),
        ("nobody", {}, "NotFoundError", 404),
        ("bad", {}, "ServiceUnavailableError", 503),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors(
    litellm: ModuleType,
    troubled: FakeServer,
    *,
    name: str,
    fields: Any,
    kind: str,
    status: int,
    stream: bool,
):
    """Each status is mapped to the library's own class, streamed or not."""
    with pytest.raises(getattr(litellm, kind)) as wrong:
        litellm.completion(**at(troubled, name, stream=stream, max_retries=0, **fields))

    assert wrong.value.status_code == status
    assert troubled.statuses == [status]


def test_a_failed_engine(litellm: ModuleType, troubled: FakeServer):
    """A whole answer that fails is a 500; in a stream it is the error for streams that broke.

    XX
    """
    with pytest.raises(litellm.InternalServerError):
        litellm.completion(**at(troubled, "broken", max_retries=0))
    stream = litellm.completion(**at(troubled, "broken", stream=True, max_retries=0))

    with pytest.raises(litellm.exceptions.MidStreamFallbackError):
        list(stream)
    assert troubled.statuses == [500, 200]


def test_a_full_queue(litellm: ModuleType, full: FakeServer):
    """Too many requests are the library's `RateLimitError`."""
    with pytest.raises(litellm.RateLimitError):
        litellm.completion(**at(full, "m", max_retries=0))


@pytest.mark.parametrize("stream", [False, True])
def test_a_cold_model_ends_in_an_answer(litellm: ModuleType, cold: FakeServer, *, stream: bool):
    """With its default retries the client outlasts a load that is longer than the hold."""
    answer = litellm.completion(**at(cold, "slow", stream=stream))
    if stream:
        answer = litellm.stream_chunk_builder(list(answer))

    assert answer.choices[0].message.content == "Awake."
    assert cold.statuses[0] == 503
    assert cold.statuses[-1] == 200
    assert len(cold.statuses) <= 3
