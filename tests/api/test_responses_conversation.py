"""A response's instructions and input items as a conversation, and as chat templates read it."""

from typing import Any

import msgspec
import pytest

from pilotlight.api.endpoints.responses.conversation import conversation_of
from pilotlight.api.http import lenient
from pilotlight.prompt.template_variables import template_messages
from pilotlight.schema.responses.request import ResponseRequest

MESSAGE = {"type": "message"}
LAST = {"role": "user", "content": "And?"}


def rendered(given: Any, instructions: str | None = None) -> list[dict[str, Any]]:
    """Return an input as a request has it, as templates read it."""
    if isinstance(given, list):
        given = [*given, LAST]  # so that a last message of the assistant's is no prefill
    body = {"model": "m", "input": given, "instructions": instructions}
    request = lenient.decode(body, ResponseRequest, ignore_unknown=False)
    messages = template_messages(conversation_of(request, ()).turns)
    return messages[:-1] if isinstance(given, list) else messages


def said(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


def thought(*texts: str) -> dict[str, Any]:
    content = [{"type": "reasoning_text", "text": text} for text in texts]
    return {"type": "reasoning", "id": "rs_1", "summary": [], "content": content}


def called(name: str, call_id: str = "c1") -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": '{"a": 1}'}


def came(text: Any, call_id: str = "c1") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def call(name: str, call_id: str = "c1") -> dict[str, Any]:
    function = {"name": name, "arguments": {"a": 1}}
    return {"type": "function", "id": call_id, "function": function}


def test_a_string():
    """What is no list is what the user says."""
    assert rendered("hi") == [said("hi")]
    assert rendered("") == [said("")]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (said("hi"), said("hi")),
        (said("hi") | {"type": "message", "status": "completed", "id": "msg_1"}, said("hi")),
        (said("x", "system"), said("x", "system")),
        (said("x", "developer"), said("x", "system")),
        (said("x", "assistant") | {"phase": "final_answer"}, said("x", "assistant")),
        ({"role": "user", "content": []}, said("")),
        (
            {"role": "user", "content": [{"type": "input_text", "text": "a"}] * 2},
            said("a\na"),
        ),
        (
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [
                    {"type": "output_text", "text": "a", "annotations": [], "logprobs": []},
                    {"type": "refusal", "refusal": "No."},
                ],
            },
            said("a\nNo.", "assistant"),
        ),
        (came("4"), {"role": "tool", "content": "4", "tool_call_id": "c1"}),
        (
            came([{"type": "input_text", "text": "4"}]),
            {"role": "tool", "content": "4", "tool_call_id": "c1"},
        ),
        (called("f"), {"role": "assistant", "content": "", "tool_calls": [call("f")]}),
    ],
)
def test_an_item_becomes_a_message(item, message):
    """Each kind of item is a message of its role; what was not given is absent."""
    assert rendered([item]) == [message]


def test_a_turn_of_the_models_is_one_message():
    """Thought, text and calls that follow each other belong together."""
    assert rendered(
        [said("Add."), thought("Sum."), said("I add.", "assistant"), called("f"), called("g", "c2")]
    ) == [
        said("Add."),
        {
            "role": "assistant",
            "content": "I add.",
            "reasoning_content": "Sum.",
            "tool_calls": [call("f"), call("g", "c2")],
        },
    ]


def test_what_others_say_divides_turns():
    """A thought goes with the turn that follows it, not with the one before."""
    messages = rendered(
        [thought("One."), called("f"), came("4"), thought("Two."), said("Four.", "assistant")]
    )
    assert messages == [
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "One.",
            "tool_calls": [call("f")],
        },
        {"role": "tool", "content": "4", "tool_call_id": "c1"},
        {"role": "assistant", "content": "Four.", "reasoning_content": "Two."},
    ]


def test_several_texts_of_a_turn_are_joined():
    """What the model said around a call, and its thoughts, are lines of one message."""
    items = [
        thought("One.", "Two."),
        said("Before.", "assistant"),
        called("f"),
        thought("Three."),
        said("After.", "assistant"),
    ]
    assert rendered(items) == [
        {
            "role": "assistant",
            "content": "Before.\nAfter.",
            "reasoning_content": "One.\nTwo.\nThree.",
            "tool_calls": [call("f")],
        }
    ]


def test_a_thought_that_nothing_follows():
    """A turn that was cut in its thought is a turn all the same, so that roles alternate."""
    assert rendered([said("a"), thought("Hm."), said("b")]) == [
        said("a"),
        {"role": "assistant", "content": "", "reasoning_content": "Hm."},
        said("b"),
    ]


@pytest.mark.parametrize("content", [None, []])
def test_a_thought_without_text_is_its_summary(content):
    """OpenAI's own models return nothing else; an item that is encrypted alone is skipped."""
    summary = [{"type": "summary_text", "text": "Briefly."}]
    item = thought() | {"content": content, "encrypted_content": "x"}
    messages = rendered([item | {"summary": summary}, said("Four.", "assistant")])
    assert messages[0]["reasoning_content"] == "Briefly."
    assert rendered([item, said("Four.", "assistant")]) == [said("Four.", "assistant")]


@pytest.mark.parametrize(
    ("items", "system", "rest"),
    [
        ([said("hi")], "Be brief.", [said("hi")]),
        (
            [said("Use tools.", "developer"), said("Now.", "system"), said("hi")],
            "Be brief.\n\nUse tools.\n\nNow.",
            [said("hi")],
        ),
        (
            [said("hi"), said("Later.", "system")],
            "Be brief.",
            [said("hi"), said("Later.", "system")],
        ),
        ([said("", "system")], "Be brief.", []),
    ],
)
def test_instructions_come_first(items, system, rest):
    """They are one system message with those that the input begins with, and no others."""
    assert rendered(items, "Be brief.") == [said(system, "system"), *rest]


def test_instructions_that_are_empty():
    """An empty text is given too: a system message, which some templates would add otherwise."""
    assert rendered("hi", "") == [said("", "system"), said("hi")]


def test_arguments_that_are_no_object_stay_text():
    """What the model once wrote is shown to it as it wrote it."""
    messages = rendered([called("f") | {"arguments": "{broken"}])
    assert messages[0]["tool_calls"][0]["function"]["arguments"] == "{broken"


def test_a_last_assistant_message_is_the_prefill():
    """The response continues it."""
    body = {"model": "m", "input": [said("hi") | MESSAGE, said("The sum", "assistant") | MESSAGE]}
    conversation = conversation_of(msgspec.convert(body, ResponseRequest), ())
    assert template_messages(conversation.turns) == [said("hi")]
    assert conversation.prefill == "The sum"
    assert conversation.template_options == {"enable_thinking": False}
