"""Limits by settings: messages, tools, stops, choices and schemas of a request.

The wire types have bounds too, which are in the document and independent of settings. A setting is
a lower bound, or one for a field that has none.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from pilotlight.config import Settings
from pilotlight.errors import InvalidRequest
from pilotlight.guidance import GrammarInvalid, check_size
from pilotlight.schema.chat.request import (
    ChatCompletionRequest,
    JsonObjectFormat,
    JsonSchema,
    JsonSchemaFormat,
    Tool,
)
from pilotlight.schema.completions import CompletionRequest
from pilotlight.schema.declared import DeclaredTool
from pilotlight.schema.messages.request import CountTokensRequest, CustomTool, MessagesRequest
from pilotlight.schema.responses.input import InputTools
from pilotlight.schema.responses.request import ResponseJsonSchemaFormat, ResponseRequest
from pilotlight.schema.responses.tools import ResponseFunctionTool
from pilotlight.schema.sampling import SamplingRequest
from pilotlight.schema.tokens import TokenizeRequest


class Amount(Struct, frozen=True):
    """A number of items at a path of a request, and the setting that limits it."""

    param: str
    count: int
    of: str
    setting: str


class Schema(Struct, frozen=True):
    """A JSON Schema at a path of a request."""

    param: str
    value: Any


Taken: TypeAlias = Iterator[Amount | Schema]


def check_amounts(asked: Any, settings: Settings) -> None:
    """Raise `InvalidRequest` for the first limit that *asked* exceeds."""
    for taken in _taken(asked):
        match taken:
            case Amount(param, count, of, setting):
                most = getattr(settings, setting)
                if count > most:
                    raise InvalidRequest(
                        f"{param}: expected at most {most} {of}, got {count}",
                        param=param,
                    )
            case Schema(param, value):
                _check_schema(param, value, settings)


def _check_schema(param: str, schema: Any, settings: Settings) -> None:
    try:
        check_size(schema, depth=settings.max_schema_depth, length=settings.max_schema_bytes)
    except GrammarInvalid as error:
        raise InvalidRequest(f"{param}: {error}", param=param) from None


def _taken(asked: Any) -> Taken:
    """Yield the amounts of a request; schemas, which take time to check, come last."""
    match asked:
        case ChatCompletionRequest():
            yield from _messages("messages", asked.messages)
            yield from _sampling(asked)
            yield from _tools(asked.tools)
            yield from _chat_forms(asked)
        case CompletionRequest():
            yield from _sampling(asked)
            yield Amount("best_of", asked.best_of or 1, "choices", "max_n")
        case ResponseRequest():
            yield from _response(asked)
        case CountTokensRequest():
            yield from _anthropics(asked)
        case TokenizeRequest():
            yield from _messages("messages", asked.messages)
            yield from _tools(asked.tools)


def _messages(param: str, messages: Sequence[Any] | None) -> Taken:
    yield Amount(param, len(messages or ()), "messages", "max_messages")


def _sampling(asked: SamplingRequest) -> Taken:
    yield Amount("n", asked.n or 1, "choices", "max_n")
    if isinstance(asked.stop, str):
        yield Amount("stop", len(asked.stop), "characters", "max_stop_length")
    else:
        yield from _stops("stop", asked.stop)


def _stops(param: str, stops: Sequence[str] | None) -> Taken:
    stops = stops or ()
    yield Amount(param, len(stops), "stops", "max_stops")
    for index, stop in enumerate(stops):
        yield Amount(f"{param}[{index}]", len(stop), "characters", "max_stop_length")


def _tools(tools: Sequence[DeclaredTool] | None, param: str = "tools") -> Taken:
    tools = tools or ()
    yield Amount(param, len(tools), "tools", "max_tools")
    for index, tool in enumerate(tools):
        field, schema = _schema_of(tool)
        if schema is not None:
            yield Schema(f"{param}[{index}].{field}", schema)


def _schema_of(tool: DeclaredTool) -> tuple[str, Any]:
    match tool:
        case Tool():
            return "function.parameters", tool.function.parameters
        case ResponseFunctionTool():
            return "parameters", tool.parameters
        case CustomTool():
            return "input_schema", tool.input_schema
        case _:
            return "", None  # a skipped tool's schema is not used


def _chat_forms(asked: ChatCompletionRequest) -> Taken:
    match asked.response_format:
        case JsonSchemaFormat(json_schema=JsonSchema(schema=dict(schema))):
            yield Schema("response_format.json_schema.schema", schema)
        case JsonObjectFormat(schema=dict(schema)):
            yield Schema("response_format.schema", schema)
    if asked.guided_json is not None:
        yield Schema("guided_json", asked.guided_json)


def _response(asked: ResponseRequest) -> Taken:
    if not isinstance(asked.input, str):
        yield Amount("input", len(asked.input), "items", "max_messages")
        for index, item in enumerate(asked.input):
            if isinstance(item, InputTools):
                yield from _tools(item.tools, f"input[{index}].tools")
    yield from _tools(asked.tools)
    if asked.text and isinstance(asked.text.format, ResponseJsonSchemaFormat):
        yield Schema("text.format.schema", asked.text.format.schema)


def _anthropics(asked: CountTokensRequest) -> Taken:
    yield from _messages("messages", asked.messages)
    if isinstance(asked, MessagesRequest):
        yield from _stops("stop_sequences", asked.stop_sequences)
    yield from _tools(asked.tools)
    if asked.output_config and asked.output_config.format:
        yield Schema("output_config.format.schema", asked.output_config.format.schema)
