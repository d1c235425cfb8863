"""What a request for a response has that settings limit."""

from pilotlight.api.params.amounts import Schema, Taken, messages, tools
from pilotlight.schema.declared import DeclaredTool
from pilotlight.schema.responses.input import InputTools
from pilotlight.schema.responses.request import ResponseJsonSchemaFormat, ResponseRequest
from pilotlight.schema.responses.tools import ResponseFunctionTool


def amounts(asked: ResponseRequest) -> Taken:
    """Yield the amounts of *asked*."""
    if not isinstance(asked.input, str):
        yield from messages("input", asked.input)
        for index, item in enumerate(asked.input):
            if isinstance(item, InputTools):
                yield from tools(item.tools, _schema_of, f"input[{index}].tools")
    yield from tools(asked.tools, _schema_of)
    if asked.text and isinstance(asked.text.format, ResponseJsonSchemaFormat):
        yield Schema("text.format.schema", asked.text.format.schema)


def _schema_of(tool: DeclaredTool) -> tuple[str, object]:
    return "parameters", tool.parameters if isinstance(tool, ResponseFunctionTool) else None
