"""The grammar of calls that are tags."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from pilotlight.errors import InvalidRequest
from pilotlight.output.tool_calls.lark import (
    Function,
    calls,
    json_value,
    literal,
    until,
    with_definitions,
)
from pilotlight.output.tool_calls.reader import encoded
from pilotlight.output.tool_calls.types import allowed_types, resolve


class XmlLayout(Struct, frozen=True):
    """How a format writes a call, its parameters in the order of the schema.

    `$name` and `$key` stand for the function's and the parameter's name. What may be a string is
    any text up to the closing tag, whatever else the schema says of it; an enumeration is one of
    its values.
    """

    before: str
    key: str
    """Stands before a parameter's value."""
    value_end: str
    """The tag that ends a value."""
    line: str
    """Stands between a value that is no free text, and its end."""
    after_value: str
    after: str
    between: str

    def grammar(self, functions: Sequence[Function], *, parallel: bool) -> str:
        """Write the rules."""
        rules = calls(functions, self._rule, parallel=parallel, between=literal(self.between))
        return rules + f"tool_text[lazy]: {until(self.value_end)}\n"

    def _rule(self, index: int, function: Function) -> str:
        schema = function.parameters
        required = list(schema.get("required") or ())
        properties = dict(schema.get("properties") or {})
        additional = schema.get("additionalProperties", True)
        properties |= {key: additional for key in required if key not in properties}
        parts = [f"tool_call_{index}:", literal(self.before.replace("$name", function.name))]
        for key, declared in properties.items():
            if _NO_KEY & set(key):
                raise InvalidRequest(
                    f"The parameter {key!r} of the function {function.name!r} cannot be written in"
                    " this model's constrained calls.",
                    param="tools",
                )
            before = literal(self.key.replace("$key", key))
            value = f"{before} {self._value(declared, schema)} {literal(self.after_value)}"
            parts.append(value if key in required else f"({value})?")
        return " ".join([*parts, literal(self.after)])

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
"""References followed."""


def _choices(schema: Any, root: Mapping[str, Any]) -> Sequence[Any] | None:
    """Return the values that the schema lists, if it does."""
    for _ in range(_DEPTH):
        if not isinstance(schema, Mapping):
            return None
        if "const" in schema:
            return [schema["const"]]
        if "enum" in schema:
            return list(schema["enum"])
        schema = resolve(str(schema.get("$ref", "")), root)
    return None
