"""Which tools a response's request shows to the model, in chat's words."""

from collections.abc import Sequence

from msgspec import Struct

from pilotlight.api.params.tool_choice import no_such_tool, nothing_allowed, required
from pilotlight.schema.chat.request import (
    AllowedTool,
    AllowedTools,
    AllowedToolsChoice,
    ChatAllowance,
    FunctionDefinition,
    FunctionName,
    NamedToolChoice,
    Tool,
    ToolChoice,
)
from pilotlight.schema.declared import offered
from pilotlight.schema.responses.input import InputTools
from pilotlight.schema.responses.request import (
    AllowedFunction,
    AllowedFunctionsChoice,
    FunctionToolChoice,
    ResponseRequest,
    ResponseToolChoice,
)
from pilotlight.schema.responses.tools import ResponseFunctionTool, ResponseTool


class Offer(Struct, frozen=True):
    """The tools that the model may call, and whether it has to."""

    tools: list[Tool]
    choice: ToolChoice | None


def offer_of(asked: ResponseRequest) -> Offer:
    """Return what *asked* offers. Raises `InvalidRequest` for a choice of what is not there.

    What the model may not call, it is not shown either: a small model would call it.
    """
    tools = _chosen(declared_of(asked), asked.tool_choice)
    return Offer([_tool(tool) for tool in tools], _choice(asked.tool_choice))


def declared_of(asked: ResponseRequest) -> list[ResponseTool]:
    """Return the tools of *asked*, and those that its items add."""
    items = () if isinstance(asked.input, str) else asked.input
    added = [tool for item in items if isinstance(item, InputTools) for tool in item.tools]
    return [*(asked.tools or ()), *added]


def _chosen(
    tools: Sequence[ResponseTool], choice: ResponseToolChoice | None
) -> list[ResponseFunctionTool]:
    match choice:
        case "none":
            return []
        case "required":
            return required(tools, ResponseFunctionTool)
        case FunctionToolChoice():
            return [_named(tools, choice.name, "tool_choice.name")]
        case AllowedFunctionsChoice():
            return _allowed(tools, choice)
        case _:
            return offered(tools, ResponseFunctionTool)


def _allowed(
    tools: Sequence[ResponseTool], choice: AllowedFunctionsChoice
) -> list[ResponseFunctionTool]:
    shown = [
        _named(tools, allowed.name, f"tool_choice.tools[{index}].name")
        for index, allowed in enumerate(choice.tools)
        if isinstance(allowed, AllowedFunction)
    ]
    if choice.mode == "required" and not shown:
        raise nothing_allowed(choice.tools, "tool_choice.tools")
    return shown


def _named(tools: Sequence[ResponseTool], name: str, param: str) -> ResponseFunctionTool:
    for tool in offered(tools, ResponseFunctionTool):
        if tool.name == name:
            return tool
    raise no_such_tool(tools, name, param)


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
            allowed: list[ChatAllowance] = [
                AllowedTool(type="function", function=FunctionName(name=tool.name))
                for tool in choice.tools
                if isinstance(tool, AllowedFunction)
            ]
            return AllowedToolsChoice(allowed_tools=AllowedTools(mode=choice.mode, tools=allowed))
        case _:
            return choice
