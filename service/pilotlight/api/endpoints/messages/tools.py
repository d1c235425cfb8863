"""Anthropic's tools and choice of them."""

from pilotlight.api.params.tools import NamedTool, Offer, ToolChoice, declared_tools, offer
from pilotlight.prompt.conversation import Tool
from pilotlight.schema.messages import request as wire


def offer_of(asked: wire.CountTokensRequest) -> Offer:
    """Return what *asked* offers. Raises `InvalidRequest` for a choice of what is not there."""
    declared = declared_tools(asked.tools or (), wire.CustomTool, _tool_of, schema="input_schema")
    choice = asked.tool_choice or wire.AutoToolChoice()
    single = not isinstance(choice, wire.NoToolChoice) and choice.disable_parallel_tool_use
    return offer(declared, _choice(choice), parallel=not single)


def _tool_of(tool: wire.CustomTool) -> Tool:
    return Tool(tool.name, tool.description, tool.input_schema, tool.strict)


def _choice(choice: wire.MessagesToolChoice) -> ToolChoice:
    match choice:
        case wire.NoToolChoice():
            return ToolChoice(only=())
        case wire.AnyToolChoice():
            return ToolChoice(required=True)
        case wire.OneToolChoice():
            return ToolChoice(required=True, only=(NamedTool(choice.name, "tool_choice.name"),))
        case wire.AutoToolChoice():
            return ToolChoice()
