"""What a request of the Messages API has that settings limit."""

from collections.abc import Sequence

from pilotlight.api.params.amounts import Amount, Schema, Taken, stops, tools
from pilotlight.schema.declared import DeclaredTool
from pilotlight.schema.messages.content import ToolResultBlock, Turn
from pilotlight.schema.messages.request import CountTokensRequest, CustomTool, MessagesRequest


def amounts(asked: CountTokensRequest) -> Taken:
    """Yield the amounts of *asked*, which may ask for a message too."""
    yield Amount("messages", _messages(asked.messages), "messages and results", "max_messages")
    if isinstance(asked, MessagesRequest):
        yield from stops("stop_sequences", asked.stop_sequences)
    yield from tools(asked.tools, _schema_of)
    if asked.output_config and asked.output_config.format:
        yield Schema("output_config.format.schema", asked.output_config.format.schema)


def _messages(turns: Sequence[Turn]) -> int:
    """Return how many messages a chat template gets: each result of a tool is one of its own."""
    results = 0
    for turn in turns:
        if isinstance(turn.content, list):
            results += sum(isinstance(block, ToolResultBlock) for block in turn.content)
    return len(turns) + results


def _schema_of(tool: DeclaredTool) -> tuple[str, object]:
    return "input_schema", tool.input_schema if isinstance(tool, CustomTool) else None
