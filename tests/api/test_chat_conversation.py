"""Chat messages and tools as a conversation, and as chat templates read them."""

import msgspec
import pytest

from pilotlight.api.endpoints.chat.conversation import chat_conversation
from pilotlight.api.endpoints.chat.tools import tool_of
from pilotlight.errors import InvalidRequest
from pilotlight.prompt.conversation import Conversation, TextPart, UserTurn
from pilotlight.prompt.template_variables import template_messages, template_tools
from pilotlight.schema.chat.messages import Message
from pilotlight.schema.chat.request import Tool

CALLED = {"name": "f", "arguments": None}
USER = {"role": "user", "content": "hi"}


def conversation(*messages: dict, **options: bool) -> Conversation:
    """Return messages as a request has them, as a conversation."""
    return chat_conversation(msgspec.convert(list(messages), list[Message]), **options)


def rendered(*messages: dict) -> list[dict]:
    """Return messages as a request has them, as templates read them."""
    return template_messages(conversation(*messages, continues=False).turns)


@pytest.mark.parametrize(
    ("message", "variables"),
    [
        ({"role": "system", "content": "Be brief."}, {"role": "system", "content": "Be brief."}),
        ({"role": "developer", "content": "x"}, {"role": "system", "content": "x"}),
        (
            {"role": "user", "content": "hi", "name": "Ann"},
            {"role": "user", "content": "hi", "name": "Ann"},
        ),
        ({"role": "user", "content": "", "name": None}, {"role": "user", "content": ""}),
        (
            {"role": "tool", "content": "4", "tool_call_id": "c1"},
            {"role": "tool", "content": "4", "tool_call_id": "c1"},
        ),
        (
            {"role": "tool", "content": "4", "tool_call_id": "c1", "name": "add"},
            {"role": "tool", "content": "4", "tool_call_id": "c1", "name": "add"},
        ),
        (
            {"role": "assistant", "content": "4", "reasoning": "2+2"},
            {"role": "assistant", "content": "4", "reasoning_content": "2+2"},
        ),
        (
            {"role": "assistant", "content": "4", "reasoning": "a", "reasoning_content": "b"},
            {"role": "assistant", "content": "4", "reasoning_content": "b"},
        ),
        ({"role": "assistant", "content": "yes"}, {"role": "assistant", "content": "yes"}),
        (
            {"role": "tool", "content": None, "tool_call_id": "c1"},
            {"role": "tool", "content": "", "tool_call_id": "c1"},
        ),
        (
            {"role": "tool", "content": [], "tool_call_id": "c1"},
            {"role": "tool", "content": "", "tool_call_id": "c1"},
        ),
        (
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "2+2", "signature": "s"},
                    {"type": "text", "text": "4"},
                ],
            },
            {"role": "assistant", "content": "4", "reasoning_content": "2+2"},
        ),
        (
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "2+2"}]},
                    {"type": "text", "text": "4"},
                ],
                "reasoning_content": "a sum",
            },
            {"role": "assistant", "content": "4", "reasoning_content": "a sum"},
        ),
        ({"role": "assistant", "content": []}, {"role": "assistant", "content": ""}),
        ({"role": "assistant"}, {"role": "assistant", "content": ""}),
        ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
        ({"role": "assistant", "refusal": "No."}, {"role": "assistant", "content": "No."}),
        (
            {"role": "assistant", "content": "yes", "refusal": "No."},
            {"role": "assistant", "content": "yes"},
        ),
        (
            {"role": "assistant", "content": "4", "reasoning_content": "2+2"},
            {"role": "assistant", "content": "4", "reasoning_content": "2+2"},
        ),
        (
            {"role": "assistant", "content": "4", "reasoning_content": "", "tool_calls": []},
            {"role": "assistant", "content": "4"},
        ),
    ],
)
def test_message_becomes_what_templates_read(message, variables):
    """A message keeps its role and text; what was not given is absent, not null."""
    assert rendered(message) == [variables]


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_parts_are_joined_by_lines(role):
    """A list of text parts is one string, for templates that take strings alone."""
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert rendered({"role": role, "content": parts})[0]["content"] == "one\ntwo"


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ('{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
        ("{}", {}),
        ("", {}),
        (None, {}),
        ({"a": [1]}, {"a": [1]}),
        ('{"a": ', '{"a": '),
        ("no JSON", "no JSON"),
        ("[1, 2]", "[1, 2]"),
        ("5", "5"),
        ("null", "null"),
        ('"text"', '"text"'),
        ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", '{"a": ' + "[" * 5000 + "]" * 5000 + "}"),
    ],
)
def test_arguments_are_objects(arguments, value):
    """Templates write arguments with `tojson`: they get the object, or the text that is none."""
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    (message,) = rendered({"role": "assistant", "tool_calls": [call]})
    assert message == {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"type": "function", "id": "c1", "function": {"name": "f", "arguments": value}}
        ],
    }


def test_order_is_kept():
    """Messages come in the request's order, repeated roles included."""
    contents = [
        message["content"] for message in rendered(*[{"role": "user", "content": c} for c in "abc"])
    ]
    assert contents == ["a", "b", "c"]


def test_tools_are_as_openai_writes_them():
    """A tool keeps its schema as it was given, without omitted fields."""
    schema = {"type": "object", "properties": {"a": {"type": "integer", "default": None}}}
    described = {"name": "g", "description": "d", "parameters": schema, "strict": False}
    tools = msgspec.convert(
        [
            {"type": "function", "function": {"name": "f"}},
            {"type": "function", "function": described},
        ],
        list[Tool],
    )
    assert template_tools(list(map(tool_of, tools))) == [
        {"type": "function", "function": {"name": "f"}},
        {"type": "function", "function": described},
    ]


def test_a_last_assistant_message_is_the_prefill():
    """Its text begins the response; its reasoning is over, and thinking is switched off."""
    said = conversation(USER, {"role": "assistant", "content": "The sum", "reasoning": "2+2"})
    assert (said.turns, said.prefill) == ([UserTurn((TextPart("hi"),))], "The sum")
    assert said.template_options == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("last", "options", "turns", "prefill", "begun"),
    [
        ("assistant", {"continues": False}, 2, "", True),
        ("assistant", {"begins": False}, 2, "", False),
        ("assistant", {"continues": True, "begins": False}, 1, "x", True),
        ("assistant", {"begins": True}, 1, "x", True),
        ("user", {"begins": False}, 2, "", False),
        ("user", {"continues": False}, 2, "", True),
    ],
)
def test_the_request_says_whether_a_response_is_begun(last, options, turns, prefill, begun):
    """`continue_final_message` and `add_generation_prompt`, as vLLM has them."""
    said = conversation(USER, {"role": last, "content": "x"}, **options)
    assert (len(said.turns), said.prefill, said.generation_prompt) == (turns, prefill, begun)


@pytest.mark.parametrize(
    "last",
    [
        USER,
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "function": CALLED}],
        },
    ],
)
def test_nothing_to_continue(last):
    """A message that is not the assistant's, or makes calls, cannot be continued."""
    with pytest.raises(InvalidRequest) as raised:
        conversation(USER, last, continues=True)
    assert raised.value.param == "continue_final_message"
