"""What a chat request has that settings limit."""

from collections.abc import Sequence

from pilotlight.api.params.amounts import Schema, Taken, messages, sampling, tools
from pilotlight.schema.chat.request import (
    ChatCompletionRequest,
    JsonObjectFormat,
    JsonSchema,
    JsonSchemaFormat,
    Tool,
)
from pilotlight.schema.declared import DeclaredTool


def amounts(asked: ChatCompletionRequest) -> Taken:
    """Yield the amounts of *asked*."""
    yield from messages("messages", asked.messages)
    yield from sampling(asked)
    yield from chat_tools(asked.tools)
    match asked.response_format:
        case JsonSchemaFormat(json_schema=JsonSchema(schema=dict(schema))):
            yield Schema("response_format.json_schema.schema", schema)
        case JsonObjectFormat(schema=dict(schema)):
            yield Schema("response_format.schema", schema)
    if asked.guided_json is not None:
        yield Schema("guided_json", asked.guided_json)


def chat_tools(listed: Sequence[DeclaredTool] | None) -> Taken:
    """Yield the amounts of tools, as chat has them."""
    return tools(listed, _schema_of)


def _schema_of(tool: DeclaredTool) -> tuple[str, object]:
    schema = tool.function.parameters if isinstance(tool, Tool) else None
    return "function.parameters", schema
