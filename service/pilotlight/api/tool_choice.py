"""Which tools a request shows to the model, and what it may or must do with them."""

from pilotlight.errors import InvalidRequest
from pilotlight.generation import Calls
from pilotlight.output.tool_calls import Function
from pilotlight.schema.chat.request import AllowedToolsChoice, NamedToolChoice, Tool, ToolChoice


def tools_of(tools: list[Tool] | None, choice: ToolChoice | None) -> list[Tool]:
    """Return the tools that the model may call. Raises `InvalidRequest` for one that is not there.

    What it may not call, it is not shown either: a small model would call it.
    """
    tools = tools or []
    match choice:
        case "none":
            return []
        case "required" if not tools:
            raise InvalidRequest("tool_choice: there are no tools to call", param="tool_choice")
        case NamedToolChoice():
            return [_named(tools, choice.function.name, "tool_choice.function.name")]
        case AllowedToolsChoice():
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


def calls_of(
    tools: list[Tool], choice: ToolChoice | None, *, parallel: bool | None
) -> Calls | None:
    """Return what the model may do with *tools*, or has to."""
    if not tools:
        return None
    match choice:
        case "required" | NamedToolChoice():
            required = True
        case AllowedToolsChoice(allowed_tools=allowed):
            required = allowed.mode == "required"
        case _:
            required = False
    functions = tuple(
        Function(tool.function.name, tool.function.parameters or {}) for tool in tools
    )
    return Calls(functions, required, parallel is not False)


def _named(tools: list[Tool], name: str, param: str) -> Tool:
    for tool in tools:
        if tool.function.name == name:
            return tool
    raise InvalidRequest(f"{param}: the request has no tool {name!r}", param=param)
