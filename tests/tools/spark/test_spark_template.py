"""The chat template, rendered as Transformers renders it."""

from typing import Any

import pytest
from jinja2.exceptions import UndefinedError

from tools.spark.prompt import chat_template, render

USER: dict[str, Any] = {"role": "user", "content": "What is 2+2?"}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
}
TOOLS_TURN = (
    "# Tools\n\n<tools>\n"
    '{"type": "function", "function": {"name": "get_weather", '
    '"parameters": {"type": "object", "properties": {}}}}\n'
    "</tools>\n\nTo call a tool, answer:\n<tool_call>\n"
    '{"name": <name>, "arguments": <object>}\n</tool_call><|im_end|>\n'
)


def test_thinking_is_on_by_default() -> None:
    """The assistant's turn is opened and the model starts its own think block."""
    expected = "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n"
    assert render([USER]) == expected
    assert render([USER], enable_thinking=True) == expected


def test_thinking_off_closes_an_empty_thought() -> None:
    """With enable_thinking false the prompt ends in an empty think block."""
    assert render([USER], enable_thinking=False) == (
        "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


def test_no_generation_prompt_unless_asked() -> None:
    """Without add_generation_prompt the text ends with the last turn."""
    text = chat_template().render(messages=[USER])
    assert text == "<|im_start|>user\nWhat is 2+2?<|im_end|>\n"


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_message_comes_first(role: str) -> None:
    """A system or developer message opens the conversation as the system's turn."""
    assert render([{"role": role, "content": "Be brief."}, USER]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_an_earlier_answer_loses_its_thinking() -> None:
    """What the model thought in an earlier turn is not shown to it again."""
    answered = {"role": "assistant", "content": "<think>\n2 + 2 = 4.\n</think>\n\n4"}
    assert render([USER, answered, {"role": "user", "content": "Thanks"}]) == (
        "<|im_start|>user\nWhat is 2+2?<|im_end|>\n"
        "<|im_start|>assistant\n4<|im_end|>\n"
        "<|im_start|>user\nThanks<|im_end|>\n<|im_start|>assistant\n"
    )


def test_tools_are_listed_in_the_system_turn() -> None:
    """Each tool is one line of JSON, keys in the client's order, below the system message."""
    system = {"role": "system", "content": "Be brief."}
    turn = "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n"
    assert render([USER], tools=[WEATHER]) == f"<|im_start|>system\n{TOOLS_TURN}{turn}"
    assert render([system, USER], tools=[WEATHER]) == (
        f"<|im_start|>system\nBe brief.\n\n{TOOLS_TURN}{turn}"
    )


def test_no_tools_leave_no_trace() -> None:
    """An empty list of tools renders like none."""
    assert render([USER], tools=[]) == render([USER]) == render([USER], tools=None)


@pytest.mark.parametrize("arguments", ['{"city": "Köln"}', {"city": "Köln"}])
def test_a_call_and_its_results(arguments: object) -> None:
    """A call without content, then two results in a row, which share one user turn."""
    called = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "get_weather", "arguments": arguments}}] * 2,
    }
    results = [{"role": "tool", "content": "sunny"}, {"role": "tool", "content": "cold"}]
    block = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln"}}\n</tool_call>'
    assert render([USER, called, *results]) == (
        "<|im_start|>user\nWhat is 2+2?<|im_end|>\n"
        f"<|im_start|>assistant\n{block}\n{block}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nsunny\n</tool_response>\n"
        "<tool_response>\ncold\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_call_after_words() -> None:
    """Content before a call stands on lines of its own."""
    call = {"function": {"name": "f", "arguments": "{}"}}
    called = {"role": "assistant", "content": "Wait.", "tool_calls": [call]}
    assert render([USER, called]).endswith(
        "<|im_start|>assistant\nWait.\n"
        '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call><|im_end|>\n'
        "<|im_start|>assistant\n"
    )


def test_markup_is_not_escaped() -> None:
    """A user's angle brackets and quotes reach the model as they are."""
    assert "<b> & 'c'" in render([{"role": "user", "content": "<b> & 'c'"}])


def test_no_messages_render_the_generation_prompt_alone() -> None:
    """An empty conversation is no error of the template's."""
    assert render([]) == "<|im_start|>assistant\n"


def test_a_call_without_a_name_is_an_error() -> None:
    """A broken tool call is refused, not rendered as nothing."""
    called = {"role": "assistant", "content": "", "tool_calls": [{"function": {"x": 1}}]}
    with pytest.raises(UndefinedError):
        render([USER, called])
