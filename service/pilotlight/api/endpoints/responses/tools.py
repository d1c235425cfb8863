"""A response's tools and choice of them."""

from collections.abc import Iterator

from pilotlight.api.params.tools import NamedTool, Offer, ToolChoice, allowed, declared_tools, offer
from pilotlight.prompt.conversation import Tool
from pilotlight.schema.responses import request as wire
from pilotlight.schema.responses.input import InputTools
from pilotlight.schema.responses.tools import ResponseFunctionTool


def offer_of(asked: wire.ResponseRequest) -> Offer:
    """Return what *asked* offers. Raises `InvalidRequest` for a choice of what is not there."""
    added = (
        (f"{path}[{number}]", tool)
        for path, item in tool_items(asked)
        for number, tool in enumerate(item.tools)
    )
    declared = declared_tools(
        asked.tools or (), ResponseFunctionTool, _tool_of, schema="parameters", more=added
    )
    choice = _choice(asked.tool_choice)
    return offer(declared, choice, parallel=asked.parallel_tool_calls is not False)


def tool_items(asked: wire.ResponseRequest) -> Iterator[tuple[str, InputTools]]:
    """Yield the items of *asked* that have tools, each with the path of these."""
    for index, item in enumerate(() if isinstance(asked.input, str) else asked.input):
        if isinstance(item, InputTools):
            yield f"input[{index}].tools", item


def _tool_of(tool: ResponseFunctionTool) -> Tool:
    return Tool(tool.name, tool.description, tool.parameters, tool.strict)


def _choice(choice: wire.ResponseToolChoice | None) -> ToolChoice:
    match choice:
        case "none":
            return ToolChoice(only=())
        case "required":
            return ToolChoice(required=True)
        case wire.FunctionToolChoice():
            return ToolChoice(required=True, only=(NamedTool(choice.name, "tool_choice.name"),))
        case wire.AllowedFunctionsChoice():
            return allowed(
                choice.tools,
                wire.AllowedFunction,
                lambda tool: (tool.name, "name"),
                required=choice.mode == "required",
                param="tool_choice.tools",
            )
        case _:
            return ToolChoice()
