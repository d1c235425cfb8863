"""Anthropic's turns and content blocks as a conversation, and as chat templates read them."""

import time

import msgspec
import pytest

from pilotlight.api.endpoints.messages.conversation import conversation_of
from pilotlight.prompt.template_variables import template_messages
from pilotlight.schema.messages.request import MessagesRequest

HI = {"role": "user", "content": "hi"}


def rendered(*messages: dict, system: object = None) -> tuple[list[dict], str]:
    """Return messages as a request has them, as templates read them, and the prefill."""
    body = {"model": "m", "max_tokens": 1, "messages": list(messages), "system": system}
    said = conversation_of(msgspec.convert(body, MessagesRequest), ())
    return template_messages(said.turns), said.prefill


def text(*texts: str) -> list[dict]:
    return [{"type": "text", "text": one} for one in texts]


def use(name: str, **given: object) -> dict:
    return {"type": "tool_use", "id": f"id-{name}", "name": name, "input": given}


def result(name: str, **fields: object) -> dict:
    return {"type": "tool_result", "tool_use_id": f"id-{name}", **fields}


def called(name: str, **given: object) -> dict:
    return {
        "type": "function",
        "id": f"id-{name}",
        "function": {"name": name, "arguments": given},
    }


@pytest.mark.parametrize("content", ["one\ntwo", text("one", "two"), text("one\ntwo")])
def test_text_is_one_string(content):
    """Blocks are joined by newlines, for every role."""
    messages, _ = rendered(
        {"role": "user", "content": content},
        {"role": "assistant", "content": content},
        {"role": "system", "content": content},
        HI,
        system=content,
    )
    assert [(one["role"], one["content"]) for one in messages] == [
        ("system", "one\ntwo"),
        ("user", "one\ntwo"),
        ("assistant", "one\ntwo"),
        ("system", "one\ntwo"),
        ("user", "hi"),
    ]


@pytest.mark.parametrize("system", [None, "", []])
def test_no_system_prompt_is_no_message(system):
    """The template decides what to say where there is none."""
    assert rendered(HI, system=system) == ([HI], "")


NOTE = {"role": "system", "content": "Be brief.", "clear_at": "next_user_message"}
OTHER = {"role": "assistant", "content": "x"}


@pytest.mark.parametrize(
    ("turns", "seen"),
    [
        ([HI, NOTE], ["user", "system"]),
        ([HI, NOTE, OTHER, HI], ["user", "assistant", "user"]),
        ([HI, NOTE | {"clear_at": "never"}, OTHER, HI], ["user", "system", "assistant", "user"]),
        ([HI, OTHER, HI, NOTE], ["user", "assistant", "user", "system"]),
        ([HI, {"role": "system", "output_config": {"effort": "low"}}], ["user"]),
    ],
)
def test_a_system_message_that_is_cleared(turns, seen):
    """With the user's next turn the model sees it no more; without a text it never does."""
    messages, _ = rendered(*turns)
    assert [one["role"] for one in messages] == seen


def test_thinking_is_reasoning_content():
    """Thinking is separate from the text; redacted thinking is omitted."""
    messages, _ = rendered(
        HI,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "First.", "signature": "s"},
                {"type": "redacted_thinking", "data": "xxx"},
                {"type": "thinking", "thinking": "", "signature": ""},
                {"type": "thinking", "thinking": "Then."},
                *text("Four."),
            ],
        },
        HI,
    )
    assert messages[1] == {
        "role": "assistant",
        "content": "Four.",
        "reasoning_content": "First.\nThen.",
    }


def test_calls_and_their_results():
    """Inputs stay objects; each result is a message of its own, before the user's text."""
    messages, prefill = rendered(
        HI,
        {"role": "assistant", "content": [*text("I add."), use("add", a=2), use("sub")]},
        {
            "role": "user",
            "content": [
                result("add", content="4"),
                result("sub", content=text("1", "2")),
                *text("And?"),
            ],
        },
    )
    assert prefill == ""
    assert messages[1:] == [
        {
            "role": "assistant",
            "content": "I add.",
            "tool_calls": [called("add", a=2), called("sub")],
        },
        {"role": "tool", "content": "4", "tool_call_id": "id-add"},
        {"role": "tool", "content": "1\n2", "tool_call_id": "id-sub"},
        {"role": "user", "content": "And?"},
    ]


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({}, ""),
        ({"content": None}, ""),
        ({"content": []}, ""),
        ({"content": "no file", "is_error": False}, "no file"),
        ({"content": "no file", "is_error": True}, "Error: no file"),
        ({"is_error": True}, "Error: "),
    ],
)
def test_a_result_that_is_an_error_says_so(fields, content):
    """Templates have no other place for it."""
    messages, _ = rendered({"role": "user", "content": [result("f", **fields)]})
    assert messages == [{"role": "tool", "content": content, "tool_call_id": "id-f"}]


def test_turns_of_one_role_become_one():
    """Many templates refuse turns that do not alternate."""
    messages, _ = rendered(
        {"role": "system", "content": "B"},
        HI,
        {"role": "user", "content": ""},
        {"role": "user", "content": "there"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}, *text("one")]},
        {"role": "assistant", "content": [use("add")]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "y"}, use("sub")]},
        {"role": "user", "content": [result("add"), result("sub")]},
        system="A",
    )
    assert messages[:3] == [
        {"role": "system", "content": "A\nB"},
        {"role": "user", "content": "hi\nthere"},
        {
            "role": "assistant",
            "content": "one",
            "reasoning_content": "x\ny",
            "tool_calls": [called("add"), called("sub")],
        },
    ]
    assert [one["role"] for one in messages[3:]] == ["tool", "tool"]


@pytest.mark.parametrize(
    ("content", "prefill"),
    [
        ("The sum is ", "The sum is "),
        (text("The sum", "is "), "The sum\nis "),
        ([{"type": "thinking", "thinking": "Hm."}, *text("The sum is ")], "The sum is "),
        ([{"type": "thinking", "thinking": "Hm."}], ""),
        ([], ""),
        ("", ""),
    ],
)
def test_a_last_assistant_message_begins_the_answer(content, prefill):
    """It is no turn; what was thought before it is over."""
    assert rendered(HI, {"role": "assistant", "content": content}) == ([HI], prefill)


def test_a_last_message_that_calls_is_a_turn():
    """There is no text to go on from."""
    messages, prefill = rendered(HI, {"role": "assistant", "content": [use("add", a=1)]})
    assert prefill == ""
    assert messages[-1]["tool_calls"] == [called("add", a=1)]


def test_successive_assistant_messages_at_the_end_are_one():
    """It begins the answer; if any of them calls, it is a turn."""
    one, two = ({"role": "assistant", "content": text} for text in "AB")
    assert rendered(HI, one, two) == ([HI], "A\nB")
    calls = {"role": "assistant", "content": [use("add", a=1)]}
    messages, prefill = rendered(HI, calls, two)
    assert prefill == ""
    assert [one["role"] for one in messages] == ["user", "assistant"]
    assert messages[-1]["tool_calls"] == [called("add", a=1)]


def test_a_prefill_alone_leaves_no_message():
    """What to make of that is the template's business."""
    assert rendered({"role": "assistant", "content": "x"}) == ([], "x")


def test_an_empty_system_turn_at_the_end_leaves_no_prefill():
    """The assistant's turn before it is over, although the model does not see the system turn."""
    last = {"role": "assistant", "content": "x"}
    assert rendered(HI, last, {"role": "system", "content": ""}) == ([HI, last], "")


def test_many_blocks_take_time_by_their_number():
    """A body of two megabytes has as many: to merge each with all before it took two minutes."""
    blocks = [{"type": "text", "text": "a"}] * 100_000
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": blocks}]}
    asked = msgspec.convert(body, MessagesRequest)
    began = time.process_time()
    (turn,) = conversation_of(asked, ()).turns
    assert time.process_time() - began < 2  # 0.2
    assert len(turn.parts) == 100_000
