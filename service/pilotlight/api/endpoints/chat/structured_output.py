"""A chat request's structured output: `response_format`, and vLLM's and llama-server's fields."""

from pilotlight.errors import InvalidRequest
from pilotlight.generation import StructuredOutput
from pilotlight.guidance import ContentGrammar, Gbnf, JsonObject, JsonSchema, Lark, OneOf, Regex
from pilotlight.schema.chat.request import (
    ChatCompletionRequest,
    JsonObjectFormat,
    JsonSchemaFormat,
    ResponseFormat,
)


def structured_output_of(asked: ChatCompletionRequest) -> StructuredOutput | None:
    """Return the structured output that *asked* names; raises `InvalidRequest` for two."""
    named = [output_of_response_format(asked.response_format), *_guided(asked)]
    outputs = [output for output in named if output is not None]
    if len(outputs) > 1:
        first, second = outputs[0].param, outputs[1].param
        raise InvalidRequest(f"{second}: cannot be combined with {first}", param=second)
    return outputs[0] if outputs else None


def output_of_response_format(response_format: ResponseFormat | None) -> StructuredOutput | None:
    """Return what *response_format* names; an omitted schema allows any JSON value."""
    match response_format:
        case JsonObjectFormat(schema=None):
            return StructuredOutput(JsonObject(), "response_format")
        case JsonObjectFormat(schema=schema):
            return StructuredOutput(JsonSchema(schema, strict=False), "response_format.schema")
        case JsonSchemaFormat(json_schema=described):
            strict = bool(described.strict)
            grammar = JsonSchema(True if described.schema is None else described.schema, strict)
            return StructuredOutput(grammar, "response_format.json_schema.schema")
        case _:
            return None


def _guided(asked: ChatCompletionRequest) -> list[StructuredOutput | None]:
    """Return what vLLM's `guided_*` and llama-server's `grammar` name."""

    def output(name: str, grammar: ContentGrammar | None) -> StructuredOutput | None:
        return None if grammar is None else StructuredOutput(grammar, name)

    return [
        output(
            "guided_json",
            None if asked.guided_json is None else JsonSchema(asked.guided_json, strict=False),
        ),
        output("guided_regex", None if asked.guided_regex is None else Regex(asked.guided_regex)),
        output(
            "guided_choice",
            None if asked.guided_choice is None else OneOf(tuple(asked.guided_choice)),
        ),
        output("grammar", None if asked.grammar is None else _grammar(asked.grammar)),
    ]


def _grammar(text: str) -> Lark | Gbnf:
    """Return *text* as GBNF or Lark: each rule of GBNF has `::=`, and no rule of Lark does."""
    return Gbnf(text) if "::=" in text else Lark(text)
