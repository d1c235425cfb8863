"""A conversation as the variables of chat templates."""

import pytest

from pilotlight.prompt.conversation import (
    AssistantTurn,
    Conversation,
    SystemTurn,
    TextPart,
    Tool,
    ToolCall,
    ToolTurn,
    UserTurn,
    parse_arguments,
    split_prefill,
)
from pilotlight.prompt.template_variables import template_variables

HI, THERE = TextPart("hi"), TextPart("there")


def test_a_whole_conversation():
    """Parts are lines of one string, and what a turn does not have is absent."""
    conversation = Conversation(
        turns=[
            SystemTurn((HI, THERE)),
            UserTurn((HI,), name="Ann"),
            AssistantTurn((), "Hm.", (ToolCall("c1", "add", {"a": 1}),)),
            ToolTurn((TextPart("3"),), "c1", "add"),
        ],
        tools=[Tool("add", strict=False)],
        template_options={"enable_thinking": True},
        prefill="not in a variable",
    )
    variables = template_variables(conversation)
    function = {"name": "add", "arguments": {"a": 1}}
    assert variables.messages == [
        {"role": "system", "content": "hi\nthere"},
        {"role": "user", "content": "hi", "name": "Ann"},
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "Hm.",
            "tool_calls": [{"type": "function", "id": "c1", "function": function}],
        },
        {"role": "tool", "content": "3", "tool_call_id": "c1", "name": "add"},
    ]
    assert variables.tools == [{"type": "function", "function": {"name": "add", "strict": False}}]
    assert variables.options == {"enable_thinking": True}


def test_no_tools_are_none():
    """Templates ask whether there are tools; an empty list is none."""
    assert template_variables(Conversation(turns=[])).tools is None


@pytest.mark.parametrize(
    ("last", "prefill"),
    [
        (AssistantTurn((HI, THERE), "Hm."), "hi\nthere"),
        (AssistantTurn(), ""),
        (AssistantTurn((HI,), "", (ToolCall("c1", "f", {}),)), None),
        (UserTurn((HI,)), None),
        (ToolTurn((HI,), "c1"), None),
    ],
)
def test_prefill_is_the_assistants_last_text(last, prefill):
    """A turn of another's, or one that makes calls, stays a turn."""
    turns = [UserTurn((HI,)), last]
    rest = turns if prefill is None else turns[:1]
    assert split_prefill(turns) == (rest, prefill)


def test_no_turns_have_no_prefill():
    """Nothing is taken from an empty conversation."""
    assert split_prefill([]) == ([], None)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", {}),
        ("{}", {}),
        ('{"a": [1]}', {"a": [1]}),
        ("[1]", "[1]"),
        ("null", "null"),
        ("{", "{"),
    ],
)
def test_arguments_are_an_object_or_the_text(text, arguments):
    """A text that is no JSON object stays as the model wrote it."""
    assert parse_arguments(text) == arguments
