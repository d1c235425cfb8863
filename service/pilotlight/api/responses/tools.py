"""Which tools a response's request shows to the model, in chat's words."""

from msgspec import Struct

from pilotlight.errors import InvalidRequest
from pilotlight.schema.chat.request import (
    AllowedTool,
    AllowedTools,
    AllowedToolsChoice,
    FunctionDefinition,
    FunctionName,
    NamedToolChoice,
    Tool,
    ToolChoice,
)
from pilotlight.schema.responses.request import (
    AllowedFunctionsChoice,
    FunctionToolChoice,
    ResponseFunctionTool,
    ResponseRequest,
    ResponseToolChoice,
)


class Offer(Struct, frozen=True):
    """The tools that the model may call, and whether it has to."""

    tools: list[Tool]
    choice: ToolChoice | None


def offer_of(asked: ResponseRequest) -> Offer:
    """Return what *asked* offers. Raises `InvalidRequest` for a choice of what is not there.

    What the model may not call, it is not shown either: a small model would call it.
    """
    tools = _chosen(asked.tools or [], asked.tool_choice)
    return Offer([_tool(tool) for tool in tools], _choice(asked.tool_choice))


def _chosen(
    tools: list[ResponseFunctionTool], choice: ResponseToolChoice | None
) -> list[ResponseFunctionTool]:
    match choice:
        case "none":
            return []
        case "required" if not tools:
            raise InvalidRequest("tool_choice: there are no tools to call", param="tool_choice")
        case FunctionToolChoice():
            return [_named(tools, choice.name, "tool_choice.name")]
        case AllowedFunctionsChoice():
            return [
                _named(tools, allowed.name, f"tool_choice.tools[{index}].name")
                for index, allowed in enumerate(choice.tools)
            ]
        case _:
            return tools


def _named(tools: list[ResponseFunctionTool], name: str, param: str) -> ResponseFunctionTool:
    for tool in tools:
        if tool.name == name:
            return tool
    raise InvalidRequest(f"{param}: the request has no tool {name!r}", param=param)


def _tool(tool: ResponseFunctionTool) -> Tool:
    function = FunctionDefinition(
        name=tool.name,
        description=tool.description,
        parameters=tool.parameters,
        strict=tool.strict,
    )
    return Tool(type="function", function=function)


def _choice(choice: ResponseToolChoice | None) -> ToolChoice | None:
    match choice:
        case FunctionToolChoice():
            return NamedToolChoice(function=FunctionName(name=choice.name))
        case AllowedFunctionsChoice():
            allowed = [
                AllowedTool(type="function", function=FunctionName(name=tool.name))
                for tool in choice.tools
            ]
            return AllowedToolsChoice(allowed_tools=AllowedTools(mode=choice.mode, tools=allowed))
        case _:
            return choice
