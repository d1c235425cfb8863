"""What a request for a response has that settings limit."""

from pilotlight.api.endpoints.responses.tools import tool_items
from pilotlight.api.params.amounts import Amount, Schema, Taken, messages, tools
from pilotlight.schema.declared import DeclaredTool
from pilotlight.schema.responses.request import ResponseJsonSchemaFormat, ResponseRequest
from pilotlight.schema.responses.tools import ResponseFunctionTool


def amounts(asked: ResponseRequest) -> Taken:
    """Yield the amounts of *asked*."""
    if not isinstance(asked.input, str):
        yield from messages("input", asked.input)
    yield from tools(asked.tools, _schema_of)
    yield from _added_tools(asked)
    if asked.text and isinstance(asked.text.format, ResponseJsonSchemaFormat):
        yield Schema("text.format.schema", asked.text.format.schema)


def _added_tools(asked: ResponseRequest) -> Taken:
    """Yield the amounts of tools in items; `max_tools` limits those of the request together."""
    count = len(asked.tools or ())
    for path, item in tool_items(asked):
        count += len(item.tools)
        yield Amount(path, count, "tools in all", "max_tools")
        yield from tools(item.tools, _schema_of, path)


def _schema_of(tool: DeclaredTool) -> tuple[str, object]:
    return "parameters", tool.parameters if isinstance(tool, ResponseFunctionTool) else None
