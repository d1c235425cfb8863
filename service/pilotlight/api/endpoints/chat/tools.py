"""Chat's tools and choice of them."""

from pilotlight.api.params.tools import NamedTool, Offer, ToolChoice, allowed, declared_tools, offer
from pilotlight.prompt.conversation import Tool
from pilotlight.schema.chat import request as wire


def offer_of(asked: wire.ChatCompletionRequest) -> Offer:
    """Return what *asked* offers. Raises `InvalidRequest` for a choice of what is not there."""
    declared = declared_tools(asked.tools or (), wire.Tool, tool_of, schema="function.parameters")
    choice = _choice(asked.tool_choice)
    return offer(declared, choice, parallel=asked.parallel_tool_calls is not False)


def tool_of(tool: wire.Tool) -> Tool:
    """Return *tool* as the conversation has it."""
    function = tool.function
    return Tool(function.name, function.description, function.parameters, function.strict)


def _choice(choice: wire.ToolChoice | None) -> ToolChoice:
    match choice:
        case "none":
            return ToolChoice(only=())
        case "required":
            return ToolChoice(required=True)
        case wire.NamedToolChoice():
            name = NamedTool(choice.function.name, "tool_choice.function.name")
            return ToolChoice(required=True, only=(name,))
        case wire.AllowedToolsChoice():
            return allowed(
                choice.allowed_tools.tools,
                wire.AllowedTool,
                lambda tool: (tool.function.name, "function.name"),
                required=choice.allowed_tools.mode == "required",
                param="tool_choice.allowed_tools.tools",
            )
        case _:
            return ToolChoice()
