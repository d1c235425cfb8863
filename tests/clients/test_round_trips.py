"""What an answer leaves behind, whole or gathered, is accepted in the next request."""

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from tests.clients.servers import FakeServer

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call>'
REPLY = f"<think>\nTwo and three.\n</think>\n\nI add.\n{CALL}"
PARAMETERS = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
FUNCTION = {"name": "add", "description": "Adds.", "parameters": PARAMETERS, "strict": True}
HISTORY = (
    "I add.<tool_call>\n"
    '{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call><|im_end|>\n'
    "<|im_start|>tool\n5<|im_end|>\n<|im_start|>assistant\n"
)
"""What the model reads at the end of the second request."""


class Sum(BaseModel):
    """A form of an answer."""

    total: int


@pytest.fixture
def server(fakes: Callable[..., FakeServer]) -> FakeServer:
    """Serve `m`, which thinks, says something and calls, and `form`, which answers in JSON."""
    return fakes(m={"reply": REPLY}, form={"reply": '{"total": 5}'})


def read(server: FakeServer) -> str:
    """Return the last prompt, as the model reads it."""
    (engine,) = [one for one in server.backend.engines if one.facts.path.stem == "m"]
    return engine.detokenize(engine.requests[-1].prompt)


def form_read(server: FakeServer) -> str:
    (engine,) = [one for one in server.backend.engines if one.facts.path.stem == "form"]
    return engine.detokenize(engine.requests[-1].prompt)


# ── chat ────────────────────────────────────────────────────────────────────────────────────────

ASKED: Any = [{"role": "user", "content": "2+3?"}]
CHAT: Any = {
    "model": "m",
    "tools": [{"type": "function", "function": FUNCTION}],
    "logprobs": True,
    "top_logprobs": 1,
}


@pytest.fixture
def client(server: FakeServer) -> Iterator[openai.OpenAI]:
    """Return OpenAI's client of the server."""
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


def whole(client: openai.OpenAI) -> Any:
    answer = client.chat.completions.create(messages=ASKED, **CHAT)
    return answer.choices[0].message.model_dump()


def streamed(client: openai.OpenAI) -> Any:
    with client.chat.completions.stream(messages=ASKED, **CHAT) as stream:
        return stream.get_final_completion().choices[0].message.model_dump()


def parsed(client: openai.OpenAI) -> Any:
    answer = client.chat.completions.parse(messages=ASKED, **CHAT)
    return answer.choices[0].message.model_dump()


def gathered(client: openai.OpenAI) -> Any:
    """Merge the deltas, as clients without an SDK's help do: `index` stays in the calls."""
    message: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": []}
    for chunk in client.chat.completions.create(messages=ASKED, stream=True, **CHAT):
        delta = chunk.choices[0].delta
        message["content"] += delta.content or ""
        message["reasoning_content"] = message.get("reasoning_content", "") + (
            getattr(delta, "reasoning_content", None) or ""
        )
        for call in delta.tool_calls or ():
            if call.index == len(message["tool_calls"]):
                message["tool_calls"].append(call.model_dump())
            elif call.function and call.function.arguments:
                function = message["tool_calls"][call.index]["function"]
                function["arguments"] = (function["arguments"] or "") + call.function.arguments
    return message


@pytest.mark.parametrize("made", [whole, streamed, parsed, gathered])
def test_a_chat_message(client: openai.OpenAI, server: FakeServer, made: Callable[..., Any]):
    """A dumped message goes back with all that the SDK adds, and its tool's answer has a name."""
    message = made(client)
    assert message["reasoning_content"] == "Two and three."
    (call,) = message["tool_calls"]
    result = {"role": "tool", "tool_call_id": call["id"], "name": "add", "content": "5"}

    client.chat.completions.create(messages=[*ASKED, message, result], **CHAT)

    assert read(server).endswith(HISTORY)


def test_a_parsed_chat_message(client: openai.OpenAI, server: FakeServer):
    """`parsed` goes back too."""
    answer = client.chat.completions.parse(model="form", messages=ASKED, response_format=Sum)
    message: Any = answer.choices[0].message.model_dump(warnings=False)
    assert message["parsed"] == {"total": 5}

    client.chat.completions.create(model="form", messages=[*ASKED, message, *ASKED])

    assert 'assistant\n{"total": 5}<|im_end|>' in form_read(server)


def test_fields_of_vendors_guides(client: openai.OpenAI, server: FakeServer):
    """Nulls, empty lists and cache marks change nothing."""
    mark = {"mode": "explicit"}
    history: Any = [
        {
            "role": "system",
            "content": [
                {"type": "text", "text": "Add.", "prompt_cache_breakpoint": mark},
                {"type": "text", "text": "!", "cache_control": {"type": "ephemeral"}},
            ],
            "cache_control": {"type": "ephemeral"},
        },
        *ASKED,
        {
            "role": "assistant",
            "content": "5",
            "refusal": None,
            "annotations": [],
            "audio": None,
            "function_call": None,
            "tool_calls": None,
            "provider_specific_fields": {"x": 1},
        },
        *ASKED,
    ]

    client.chat.completions.create(model="m", messages=history)

    assert "assistant\n5<|im_end|>" in read(server)


# ── responses ───────────────────────────────────────────────────────────────────────────────────

RESPONSE: Any = {
    "model": "m",
    "tools": [{"type": "function", **FUNCTION}],
    "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
}


def whole_response(client: openai.OpenAI) -> Any:
    return client.responses.create(input="2+3?", **RESPONSE)


def streamed_response(client: openai.OpenAI) -> Any:
    with client.responses.stream(input="2+3?", **RESPONSE) as stream:
        return stream.get_final_response()


def parsed_response(client: openai.OpenAI) -> Any:
    return client.responses.parse(input="2+3?", **RESPONSE)


@pytest.mark.parametrize("made", [whole_response, streamed_response, parsed_response])
@pytest.mark.parametrize("dumped", [True, False])
def test_the_items_of_a_response(
    client: openai.OpenAI,
    server: FakeServer,
    made: Callable[..., Any],
    dumped: bool,  # noqa: FBT001 - a parameter of the test
):
    """They go back as objects or dumped, with a call's output that says more than it has to."""
    response = made(client)
    items = [item.model_dump() if dumped else item for item in response.output]
    (call,) = [item for item in response.output if item.type == "function_call"]
    output: Any = {
        "type": "function_call_output",
        "call_id": call.call_id,
        "name": "add",
        "output": [{"type": "input_text", "text": "5", "prompt_cache_breakpoint": None}],
        "id": "fco_1",
        "status": "completed",
    }

    client.responses.create(input=[*ASKED, *items, output], **RESPONSE)

    assert read(server).endswith(HISTORY)


def test_a_parsed_response(client: openai.OpenAI, server: FakeServer):
    """`parsed` goes back too."""
    response = client.responses.parse(model="form", input="2+3?", text_format=Sum)
    items: Any = [item.model_dump(warnings=False) for item in response.output]
    assert items[-1]["content"][0]["parsed"] == {"total": 5}

    client.responses.create(model="form", input=[*ASKED, *items, *ASKED])

    assert 'assistant\n{"total": 5}<|im_end|>' in form_read(server)


def test_items_of_other_vendors_answers(client: openai.OpenAI, server: FakeServer):
    """A vendor's search is left aside; a custom tool's call is a function's to the model."""
    history: Any = [
        *ASKED,
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}},
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "add",
            "namespace": "sums",
            "arguments": '{"a": 1}',
            "caller": {"type": "program", "caller_id": "p"},
        },
        {"type": "function_call_output", "call_id": "c1", "output": "1", "namespace": "sums"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "Done."},
    ]

    client.responses.create(model="m", input=history)

    prompt = read(server)
    assert '{"name": "add", "arguments": {"a": 1}}' in prompt
    assert '{"name": "patch", "arguments": {"input": "*** Begin"}}' in prompt
    assert "tool\nDone.<|im_end|>" in prompt
    assert "ws_1" not in prompt


# ── messages ────────────────────────────────────────────────────────────────────────────────────

MESSAGE: Any = {
    "model": "m",
    "max_tokens": 200,
    "tools": [{"name": "add", "description": "Adds.", "input_schema": PARAMETERS}],
}


@pytest.fixture
def anthropics(server: FakeServer) -> Iterator[anthropic.Anthropic]:
    """Return Anthropic's client of the server."""
    with anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


def whole_message(client: anthropic.Anthropic) -> Any:
    return client.messages.create(messages=ASKED, **MESSAGE)


def streamed_message(client: anthropic.Anthropic) -> Any:
    with client.messages.stream(messages=ASKED, **MESSAGE) as stream:
        return stream.get_final_message()


def beta_message(client: anthropic.Anthropic) -> Any:
    with client.beta.messages.stream(messages=ASKED, **MESSAGE) as stream:
        return stream.get_final_message()


@pytest.mark.parametrize("made", [whole_message, streamed_message, beta_message])
@pytest.mark.parametrize("dumped", [True, False])
def test_the_blocks_of_a_message(
    anthropics: anthropic.Anthropic,
    server: FakeServer,
    made: Callable[..., Any],
    dumped: bool,  # noqa: FBT001 - a parameter of the test
):
    """They go back as objects or dumped, thinking with its signature."""
    content = made(anthropics).content
    (call,) = [block for block in content if block.type == "tool_use"]
    result: Any = {
        "type": "tool_result",
        "tool_use_id": call.id,
        "content": [{"type": "text", "text": "5", "cache_control": {"type": "ephemeral"}}],
        "is_error": False,
    }
    answered: Any = [block.model_dump() if dumped else block for block in content]
    turns: Any = [
        *ASKED,
        {"role": "assistant", "content": answered},
        {"role": "user", "content": [result]},
    ]

    anthropics.messages.create(messages=turns, **MESSAGE)

    assert read(server).endswith(HISTORY)


def test_a_parsed_message(anthropics: anthropic.Anthropic, server: FakeServer):
    """What it was parsed to does not hinder."""
    answer = anthropics.messages.parse(
        model="form", max_tokens=20, messages=ASKED, output_format=Sum
    )
    assert answer.parsed_output == Sum(total=5)
    content: Any = [
        block.model_dump() | {"parsed_output": {"total": 5}} for block in answer.content
    ]

    turns: Any = [*ASKED, {"role": "assistant", "content": content}, *ASKED]
    anthropics.messages.create(model="form", max_tokens=20, messages=turns)

    assert 'assistant\n{"total": 5}<|im_end|>' in form_read(server)


def test_a_thread_is_replayed(anthropics: anthropic.Anthropic, server: FakeServer):
    """Anthropic's threads send the whole conversation once the server says it has none."""
    thread = anthropics.beta.messages.thread(model="m", max_tokens=200)
    thread.send({"role": "user", "content": "2+3?"})
    thread.send({"role": "user", "content": "And once more?"})

    assert server.statuses == [200, 404, 200]
    prompt = read(server)
    assert "user\n2+3?<|im_end|>" in prompt
    assert "user\nAnd once more?<|im_end|>" in prompt


def test_a_tool_runner(anthropics: anthropic.Anthropic, server: FakeServer):
    """It sends a thread by itself, and runs its tool to the end of its turns."""
    called: list[tuple[int, int]] = []

    @anthropic.beta_tool
    def add(a: int, b: int) -> str:
        """Add."""
        called.append((a, b))
        return str(a + b)

    runner = anthropics.beta.messages.tool_runner(
        model="m", max_tokens=200, tools=[add], messages=ASKED, max_iterations=2
    )
    answers = list(runner)

    assert [answer.stop_reason for answer in answers] == ["tool_use"] * 2
    assert called[0] == (2, 3)
    assert [status for status in server.statuses if status != 404] == [200, 200]
    assert read(server).endswith(HISTORY)
