"""The strict check of answers: what it lets pass, and that it sees what is wrong anywhere."""

from typing import Literal

import httpx
import msgspec
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.pagination import SyncPage
from openai.types import CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, ConfigDict

from tests.clients.strict_types import EXTENSIONS, misfits
from tests.conftest import CHAT, chat, events

MESSAGE = {"role": "assistant", "content": "Hello.", "refusal": None}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHOICE = {"index": 0, "message": MESSAGE, "logprobs": None, "finish_reason": "stop"}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [CHOICE],
    "usage": USAGE,
}


def answer(**fields: object) -> bytes:
    return msgspec.json.encode(ANSWER | fields)


def answer_with(**fields: object) -> bytes:
    return answer(choices=[CHOICE | {"message": MESSAGE | fields}])


def without(name: str) -> bytes:
    return msgspec.json.encode({key: value for key, value in ANSWER.items() if key != name})


# ── the helper ──────────────────────────────────────────────────────────────────────────────────


def test_a_right_answer_has_no_misfits():
    """What OpenAI's own server would send is right."""
    assert misfits(answer(), ChatCompletion) == []
    assert misfits(answer_with(tool_calls=[CALL]), ChatCompletion) == []


@pytest.mark.parametrize(
    ("wrong", "misfit"),
    [
        (answer(colour="red"), "colour: ChatCompletion has no such field"),
        (answer_with(colour="red"), "choices[0].message.colour: ChatCompletionMessage has no such"),
        (answer(usage=USAGE | {"tokens": 3}), "usage.tokens: CompletionUsage has no such field"),
        (
            answer_with(tool_calls=[CALL, CALL | {"index": 0}]),
            "choices[0].message.tool_calls[1].index: ChatCompletionMessageFunctionToolCall has no",
        ),
        (
            answer(usage=USAGE | {"prompt_tokens_details": {"cached": 1}}),
            "usage.prompt_tokens_details.cached: PromptTokensDetails has no such field",
        ),
    ],
)
def test_a_field_that_no_type_knows_is_a_misfit(wrong: bytes, misfit: str):
    """It is found at every depth: in models, in lists, in unions."""
    (found,) = misfits(wrong, ChatCompletion)
    assert found.startswith(misfit)


@pytest.mark.parametrize("name", ["id", "object", "created", "model", "choices"])
def test_a_required_field_that_is_missing_is_a_misfit(name: str):
    """It is named."""
    (found,) = misfits(without(name), ChatCompletion)
    assert found.startswith(f"{name}: Field required")


@pytest.mark.parametrize(
    ("wrong", "misfit"),
    [
        (answer(created="1"), "created: Input should be a valid integer, got '1'"),
        (answer(created=True), "created: Input should be a valid integer, got True"),
        (answer(created=1.5), "created: Input should be a valid integer, got 1.5"),
        (answer(model=None), "model: Input should be a valid string, got None"),
        (answer(choices={}), "choices: Input should be a valid array, got {}"),
        (answer(object="chat"), "object: Input should be 'chat.completion', got 'chat'"),
        (
            answer(choices=[CHOICE | {"finish_reason": "error"}]),
            "choices[0].finish_reason: Input should be",
        ),
        (
            answer(usage=USAGE | {"total_tokens": "3"}),
            "usage.total_tokens: Input should be a valid",
        ),
        (b'{"id": ', "the answer: Invalid JSON"),
        (b"[]", "the answer: Input should be an object"),
    ],
)
def test_a_value_of_another_type_is_a_misfit(wrong: bytes, misfit: str):
    """Nothing is converted."""
    assert any(found.startswith(misfit) for found in misfits(wrong, ChatCompletion))


def test_an_extension_is_meant_for_its_type_alone():
    """`thought` belongs to the answer: in the message it is as unknown as any other field."""
    assert misfits(answer(thought="hm"), ChatCompletion) == []
    assert misfits(answer(thought="hm"), ChatCompletion, {}) != []
    assert misfits(answer_with(thought="hm"), ChatCompletion) != []
    assert misfits(answer_with(reasoning_content="hm"), ChatCompletion) == []


def test_every_extension_is_unknown_to_its_type():
    """A name that the library has come to know needs no exemption, and would hide a wrong type."""
    for kind, names in EXTENSIONS.items():
        assert not names & kind.model_fields.keys(), kind


def test_pages_and_unions_are_seen_through():
    """Any type that is made of models can be held against: a generic page, a union of events."""
    model = {"id": "m", "object": "model", "created": 1, "owned_by": "x"}
    page = msgspec.json.encode({"object": "list", "data": [model, model | {"colour": "red"}]})
    assert misfits(page, SyncPage[Model]) == ["data[1].colour: Model has no such field"]

    delta = {"type": "text_delta", "text": "a", "colour": "red"}
    event = {"type": "content_block_delta", "index": 0, "delta": delta}
    said = misfits(msgspec.json.encode(event), RawMessageStreamEvent)
    assert said == ["delta.colour: TextDelta has no such field"]


def test_other_libraries_types_are_types_too():
    """Anthropic's message and OpenAI's embeddings, right and wrong."""
    usage = {"input_tokens": 1, "output_tokens": 2}
    block = {"type": "text", "text": "Hello.", "citations": None}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [block],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    assert misfits(msgspec.json.encode(message), Message) == []
    wrong = message | {"content": [block | {"colour": "red"}]}
    said = misfits(msgspec.json.encode(wrong), Message)
    assert said == ["content[0].colour: TextBlock has no such field"]

    vector = {"object": "embedding", "index": 0, "embedding": [0.5, "1"]}
    spent = {"prompt_tokens": 1, "total_tokens": 1}
    vectors = {"object": "list", "model": "m", "data": [vector], "usage": spent}
    (found,) = misfits(msgspec.json.encode(vectors), CreateEmbeddingResponse)
    assert found.startswith("data[0].embedding[1]: Input should be a valid number")


class Leaf(BaseModel):
    model_config = ConfigDict(extra="allow")

    kind: Literal["leaf"]


class Tree(BaseModel):
    model_config = ConfigDict(extra="allow")

    branches: dict[str, "Tree | Leaf | None"]


def test_models_that_hold_themselves_are_followed():
    """Recursive types, and models that are values of a mapping."""
    leaf = {"kind": "leaf"}
    assert misfits(msgspec.json.encode({"branches": {"a": leaf, "b": None}}), Tree) == []
    deep = {"branches": {"a": {"branches": {"b": leaf | {"colour": "red"}}}}}
    said = misfits(msgspec.json.encode(deep), Tree)
    assert said == ["branches.a.branches.b.colour: Leaf has no such field"]


# ── the server's answers ────────────────────────────────────────────────────────────────────────

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.mark.parametrize("fields", [{}, {"tools": [WEATHER]}, {"max_tokens": 3}])
@pytest.mark.parametrize("text", ["What is 2+2?", "What is the weather in Paris?"])
def test_chat_answers_fit(spark, text: str, fields: dict):
    """Whole answers and every chunk of a stream: content, thinking, tool calls, usage."""
    asked = chat("spark", text, temperature=0, **fields)
    streamed = asked | {"stream": True, "stream_options": {"include_usage": True}}

    whole = httpx.post(spark.url + CHAT, json=asked, timeout=60)
    stream = httpx.post(spark.url + CHAT, json=streamed, timeout=60)

    assert misfits(whole.content, ChatCompletion) == []
    *chunks, done = events(stream.text)
    assert done == "[DONE]"
    assert len(chunks) > 2
    for chunk in chunks:
        assert misfits(msgspec.json.encode(chunk), ChatCompletionChunk) == []


def test_a_stream_that_shows_its_wait_fits(fakes):
    """The chunks that carry `loading` are chunks."""
    server = fakes(slow={"reply": "Hello.", "load_seconds": 1.2})
    options = {"include_loading": "events"}
    asked = chat("slow", stream=True, stream_options=options)

    *chunks, _ = events(httpx.post(server.url + CHAT, json=asked, timeout=60).text)

    assert any("loading" in chunk for chunk in chunks)
    for chunk in chunks:
        assert misfits(msgspec.json.encode(chunk), ChatCompletionChunk) == []


def test_models_fit(spark):
    """The page of models, and each alone."""
    page = httpx.get(f"{spark.url}/v1/models")
    one = httpx.get(f"{spark.url}/v1/models/spark")

    assert misfits(page.content, SyncPage[Model]) == []
    assert misfits(one.content, Model) == []
