"""A conversation as the variables that chat templates read: OpenAI's messages and tools."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct, structs

from pilotlight.prompt.conversation import (
    AssistantTurn,
    Conversation,
    Part,
    SystemTurn,
    Tool,
    ToolCall,
    ToolTurn,
    Turn,
    UserTurn,
    text_of,
)

Join: TypeAlias = Callable[[Iterable[Part]], str]
"""Returns the parts of a turn as one text."""


class TemplateVariables(Struct, frozen=True):
    """What a chat template is rendered with; *options* are variables of its own."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None
    options: Mapping[str, Any] = {}


def template_variables(conversation: Conversation, join: Join = text_of) -> TemplateVariables:
    """Return the variables of *conversation*; its prefill is none of them."""
    return TemplateVariables(
        messages=template_messages(conversation.turns, join),
        tools=template_tools(conversation.tools),
        options=conversation.template_options,
    )


def template_messages(turns: Iterable[Turn], join: Join = text_of) -> list[dict[str, Any]]:
    """Return *turns* as messages: content is one string, arguments are objects."""
    return [_given(_message(turn, join)) for turn in turns]


def template_tools(tools: Sequence[Tool]) -> list[dict[str, Any]] | None:
    """Return *tools* in OpenAI's form without omitted fields; None, and no empty list, for none.

    Templates ask `if tools`, and some `if tools is not none`.
    """
    functions = [_given(structs.asdict(tool)) for tool in tools]
    return [{"type": "function", "function": function} for function in functions] or None


def _message(turn: Turn, join: Join) -> dict[str, Any]:
    content = join(turn.parts)
    match turn:
        case SystemTurn():
            return {"role": "system", "content": content, "name": turn.name}
        case UserTurn():
            return {"role": "user", "content": content, "name": turn.name}
        case ToolTurn():
            return {
                "role": "tool",
                "content": content,
                "tool_call_id": turn.tool_call_id,
                "name": turn.name,
            }
        case AssistantTurn():
            return {
                "role": "assistant",
                "content": content,
                "reasoning_content": turn.reasoning or None,
                "tool_calls": [_tool_call(call) for call in turn.tool_calls] or None,
            }


def _tool_call(call: ToolCall) -> dict[str, Any]:
    # Templates write the arguments with `tojson`, so they get the object and not its text.
    function = {"name": call.name, "arguments": call.arguments}
    return {"type": "function", "id": call.id, "function": function}


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
