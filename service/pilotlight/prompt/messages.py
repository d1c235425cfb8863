"""A request's messages and tools as the variables that chat templates expect."""

from contextlib import suppress
from typing import Any

import msgspec

from pilotlight.schema.chat.messages import (
    AssistantMessage,
    DeveloperMessage,
    Message,
    RefusalPart,
    SystemMessage,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from pilotlight.schema.chat.request import Tool

_arguments = msgspec.json.Decoder(dict[str, Any])


def template_messages(messages: list[Message]) -> list[dict[str, Any]]:
    """Return *messages* as templates read them: content is one string, arguments are objects."""
    return [_message(message) for message in messages]


def template_tools(tools: list[Tool] | None) -> list[dict[str, Any]] | None:
    """Return *tools* as OpenAI writes them, without the fields that were not given."""
    if not tools:
        return None
    return [
        {"type": "function", "function": _given(msgspec.to_builtins(tool.function))}
        for tool in tools
    ]


def _message(message: Message) -> dict[str, Any]:
    match message:
        case SystemMessage() | DeveloperMessage():
            # Templates know no developer; OpenAI defines the role as system's newer name.
            return _given(
                {"role": "system", "content": _text(message.content), "name": message.name}
            )
        case UserMessage():
            return _given({"role": "user", "content": _text(message.content), "name": message.name})
        case ToolMessage():
            return _given(
                {
                    "role": "tool",
                    "content": _text(message.content or ""),
                    "tool_call_id": message.tool_call_id,
                    "name": message.name,
                }
            )
        case AssistantMessage():
            return _assistant(message)


def _assistant(message: AssistantMessage) -> dict[str, Any]:
    rendered: dict[str, Any] = {"role": "assistant", "content": answered_text(message)}
    if thought := message.reasoning_content or message.reasoning or _thought(message):
        rendered["reasoning_content"] = thought
    if message.tool_calls:
        rendered["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    return rendered


def _thought(message: AssistantMessage) -> str:
    """Return the thinking that stands among the parts of an earlier answer's content."""
    parts = message.content if isinstance(message.content, list) else []
    return "\n".join(_text(part.thinking) for part in parts if isinstance(part, ThinkingPart))


def answered_text(message: AssistantMessage) -> str:
    """Return what an earlier answer said; a refusal is text like other text."""
    content = message.content
    if content is None:
        return message.refusal or ""
    if isinstance(content, str):
        return content
    return "\n".join(
        part.refusal if isinstance(part, RefusalPart) else part.text
        for part in content
        if not isinstance(part, ThinkingPart)
    )


def _tool_call(call: ToolCall) -> dict[str, Any]:
    """Templates write the arguments with `tojson`, so they get the object and not its text.

    What is no JSON object stays the text that the model wrote.
    """
    arguments = call.function.arguments or {}
    if isinstance(arguments, str):
        with suppress(msgspec.DecodeError, RecursionError):
            arguments = _arguments.decode(arguments)
    function = {"name": call.function.name, "arguments": arguments}
    return {"type": "function", "id": call.id, "function": function}


def _text(content: str | list[TextPart]) -> str:
    """Join parts as vLLM and llama.cpp do for templates that take one string."""
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
