"""Which tools a chat request shows to the model."""

from pilotlight.errors import InvalidRequest
from pilotlight.schema.chat import (
    AllowedToolsChoice,
    ChatCompletionRequest,
    NamedToolChoice,
    Tool,
)


def tools_of(asked: ChatCompletionRequest) -> list[Tool]:
    """Return the tools that the model may call. Raises `InvalidRequest` for one that is not there.

    What it may not call, it is not shown either: a small model would call it.
    """
    tools = asked.tools or []
    match asked.tool_choice:
        case "none":
            return []
        case "required" if not tools:
            raise InvalidRequest("tool_choice: there are no tools to call", param="tool_choice")
        case NamedToolChoice() as choice:
            return [_named(tools, choice.function.name, "tool_choice.function.name")]
        case AllowedToolsChoice() as choice:
            return [
                _named(
                    tools,
                    allowed.function.name,
                    f"tool_choice.allowed_tools.tools[{index}].function.name",
                )
                for index, allowed in enumerate(choice.allowed_tools.tools)
            ]
        case _:
            return tools


def _named(tools: list[Tool], name: str, param: str) -> Tool:
    for tool in tools:
        if tool.function.name == name:
            return tool
    raise InvalidRequest(f"{param}: the request has no tool {name!r}", param=param)
