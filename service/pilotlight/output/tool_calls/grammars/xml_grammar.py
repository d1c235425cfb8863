"""The grammar of calls written as tags."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from pilotlight.errors import InvalidRequest
from pilotlight.output.tool_calls.grammars.lark import (
    Function,
    calls,
    json_value,
    literal,
    until,
    with_definitions,
)
from pilotlight.output.tool_calls.grammars.text_rules import text_rules
from pilotlight.output.tool_calls.readers.call_reader import encoded
from pilotlight.output.tool_calls.schema_types import allowed_types, resolve


class XmlLayout(Struct, frozen=True):
    """How a format writes a call, its parameters in the order of the schema.

    `$name` and `$key` stand for the function's and the parameter's name. A string is any text up to
    the closing tag that the schema's pattern and lengths allow; an `enum` is one of its values.
    """

    opener: str
    """The tag that begins a call."""
    before: str
    """Text between the opener and the parameters."""
    key: str
    """Text before a parameter's value."""
    value_end: str
    """The tag that ends a value."""
    line: str
    """Text between a value that is not free text, and its end."""
    after_value: str
    after: str
    between: str

    def grammar(self, functions: Sequence[Function], *, parallel: bool) -> str:
        """Return the rules of calls to *functions*."""
        rules = calls(
            functions,
            self._rule,
            parallel=parallel,
            opener=literal(self.opener),
            between=literal(self.between + self.opener),
        )
        return rules + f"tool_text[lazy]: {until(self.value_end)}\n"

    def _rule(self, index: int, function: Function) -> str:
        schema = function.parameters
        required = list(schema.get("required") or ())
        properties = dict(schema.get("properties") or {})
        additional = schema.get("additionalProperties", True)
        properties |= {key: additional for key in required if key not in properties}
        call = f"tool_call_{index}: {literal(self.before.replace('$name', function.name))}"
        texts: list[str] = []
        parts = [f"{call} tool_body_{index}\ntool_body_{index}:"]
        for key, declared in properties.items():
            if _NO_KEY & set(key):
                raise InvalidRequest(
                    f"the parameter {key!r} of the function {function.name!r} is not supported in"
                    " this model's tool calls: it has '<', '>' or a line break"
                )
            before = literal(self.key.replace("$key", key))
            name = f"tool_text_{index}_{len(texts)}"
            text = self._text(name, declared, function)
            texts.append(text)
            spelled = name if text else self._value(declared, schema)
            value = f"{before} {spelled} {literal(self.after_value)}"
            parts.append(value if key in required else f"({value})?")
        return " ".join([*parts, literal(self.after)]) + "\n" + "".join(texts).rstrip()

    def _text(self, name: str, schema: Any, function: Function) -> str:
        """Return the rules of a string with a pattern, format or length; "" for other values."""
        is_text = allowed_types(schema, function.parameters) == {"string"}
        if not is_text or not isinstance(schema, Mapping) or _choices(schema, function.parameters):
            return ""
        try:
            end = self.line + self.value_end
            return text_rules(name, schema, end, strict=function.strict)
        except InvalidRequest as error:
            raise InvalidRequest(f"{error} (function {function.name!r})") from None

    def _value(self, schema: Any, root: Mapping[str, Any]) -> str:
        types = allowed_types(schema, root)
        end = literal(self.line + self.value_end)
        if "string" not in types:
            return f"{json_value(with_definitions(schema, root))} {end}"
        choices = _choices(schema, root)
        if choices is None:
            return "tool_text"
        texts = [each if isinstance(each, str) else encoded(each) for each in choices]
        return f"({' | '.join(map(literal, texts))}) {end}"


_NO_KEY = frozenset("<>\n")
_DEPTH = 16
"""References followed at most."""


def _choices(schema: Any, root: Mapping[str, Any]) -> Sequence[Any] | None:
    """Return the values that the schema lists by `const` or `enum`, or None."""
    for _ in range(_DEPTH):
        if not isinstance(schema, Mapping):
            return None
        if "const" in schema:
            return [schema["const"]]
        if "enum" in schema:
            return list(schema["enum"])
        schema = resolve(str(schema.get("$ref", "")), root)
    return None
