"""What a request of the Messages API has that settings limit."""

from pilotlight.api.params.amounts import Schema, Taken, messages, stops, tools
from pilotlight.schema.declared import DeclaredTool
from pilotlight.schema.messages.request import CountTokensRequest, CustomTool, MessagesRequest


def amounts(asked: CountTokensRequest) -> Taken:
    """Yield the amounts of *asked*, which may ask for a message too."""
    yield from messages("messages", asked.messages)
    if isinstance(asked, MessagesRequest):
        yield from stops("stop_sequences", asked.stop_sequences)
    yield from tools(asked.tools, _schema_of)
    if asked.output_config and asked.output_config.format:
        yield Schema("output_config.format.schema", asked.output_config.format.schema)


def _schema_of(tool: DeclaredTool) -> tuple[str, object]:
    return "input_schema", tool.input_schema if isinstance(tool, CustomTool) else None
