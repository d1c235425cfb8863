"""What a chat request says its answer is to look like."""

from pilotlight.errors import InvalidRequest
from pilotlight.generation import Form
from pilotlight.guidance import Body, Gbnf, JsonObject, JsonSchema, Lark, OneOf, Regex
from pilotlight.schema.chat.request import (
    ChatCompletionRequest,
    JsonObjectFormat,
    JsonSchemaFormat,
    ResponseFormat,
)

BUDGETS = {"minimal": 128, "low": 512, "medium": 2048, "high": 8192}
"""Tokens that a reasoning effort may think; others leave it to the model."""


def form_of(asked: ChatCompletionRequest) -> Form | None:
    """Return the form that *asked* names. Raises `InvalidRequest` where it names several."""
    forms = [form for form in (response_form(asked.response_format), *_guided(asked)) if form]
    if len(forms) > 1:
        first, second = forms[0].param, forms[1].param
        raise InvalidRequest(f"{second}: {first} says already what the answer is", param=second)
    return forms[0] if forms else None


def response_form(response_format: ResponseFormat | None) -> Form | None:
    """Return what `response_format` says; a schema that is left out is any JSON value."""
    match response_format:
        case JsonObjectFormat(schema=None):
            return Form(JsonObject(), "response_format")
        case JsonObjectFormat(schema=schema):
            return Form(JsonSchema(schema, strict=False), "response_format.schema")
        case JsonSchemaFormat(json_schema=described):
            strict = bool(described.strict)
            body = JsonSchema(True if described.schema is None else described.schema, strict)
            return Form(body, "response_format.json_schema.schema")
        case _:
            return None


def _guided(asked: ChatCompletionRequest) -> list[Form | None]:
    """Return what the fields of vLLM and llama-server say."""

    def form(name: str, body: Body | None) -> Form | None:
        return None if body is None else Form(body, name)

    return [
        form(
            "guided_json",
            None if asked.guided_json is None else JsonSchema(asked.guided_json, strict=False),
        ),
        form("guided_regex", None if asked.guided_regex is None else Regex(asked.guided_regex)),
        form(
            "guided_choice",
            None if asked.guided_choice is None else OneOf(tuple(asked.guided_choice)),
        ),
        form("grammar", None if asked.grammar is None else _grammar(asked.grammar)),
    ]


def _grammar(text: str) -> Lark | Gbnf:
    """Tell the two notations apart: each rule of GBNF, and no rule of Lark, has `::=`."""
    return Gbnf(text) if "::=" in text else Lark(text)
