"""The grammar of Gemma 4's calls, whose arguments are not JSON."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pilotlight.errors import InvalidRequest
from pilotlight.output.tool_calls.grammars.lark import (
    Function,
    calls,
    json_value,
    literal,
    until,
)
from pilotlight.output.tool_calls.readers.call_reader import encoded
from pilotlight.output.tool_calls.readers.gemma_call import QUOTE
from pilotlight.output.tool_calls.schema_types import allowed_types, resolve

_REFUSED = (
    "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies",
    "patternProperties", "propertyNames", "minProperties", "maxProperties",
    "prefixItems", "contains", "uniqueItems", "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
"""Keywords of objects and arrays that these rules cannot enforce."""
_STRING_REFUSED = ("pattern", "minLength", "maxLength")
_NUMBER = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
)  # fmt: skip
_NO_KEY = frozenset(':,{}[]<>"\n\t\r ')


def gemma_grammar(functions: Sequence[Function], *, parallel: bool) -> str:
    """Return the rules of calls to *functions*.

    Raises `InvalidRequest` for a schema with keywords that these rules cannot enforce.
    """
    rules = [_Rules(index, function) for index, function in enumerate(functions)]
    opener = literal("<|tool_call>")
    text = calls(
        functions,
        lambda index, _: rules[index].write(),
        parallel=parallel,
        opener=opener,
        between=opener,
    )
    return text + _ANYTHING


_ANYTHING = f"""\
tool_string: {literal(QUOTE)} tool_string_end
tool_string_end[lazy]: {until(QUOTE)}
tool_plain: %json {{"type": ["number", "boolean", "null"]}}
tool_array: "[" (tool_any ("," tool_any)*)? "]"
tool_key: /[^:,{{}}\\[\\]<>"\\s]{{1,64}}/
tool_member: tool_key ":" tool_any
tool_object: "{{" (tool_member ("," tool_member)*)? "}}"
tool_any: tool_string | tool_plain | tool_array | tool_object
"""


class _Rules:
    """The rules of one function's call; each object schema and each reference has its own rule."""

    def __init__(self, index: int, function: Function) -> None:
        self._index = index
        self._prefix = f"tool_value_{index}"
        self._function = function
        self._root = function.parameters
        self._rules: list[str] = []
        self._references: dict[str, str] = {}

    def write(self) -> str:
        arguments = self._value({"type": "object", **self._root})
        begin = literal(f"call:{self._function.name}")
        rules = (
            f"tool_call_{self._index}: {begin} tool_body_{self._index}",
            f"tool_body_{self._index}: {arguments} {literal('<tool_call|>')}",
        )
        return "\n".join([*rules, *self._rules])

    def _refuse(self, reason: str) -> InvalidRequest:
        return InvalidRequest(
            f"the parameters of the function {self._function.name!r} are not supported for this"
            f" model's tool calls: {reason}"
        )

    def _named(self, body: str) -> str:
        name = f"{self._prefix}_{len(self._rules)}"
        self._rules.append(f"{name}: {body}")
        return name

    def _value(self, schema: Any) -> str:
        if schema is True or schema == {}:
            return "tool_any"
        if not isinstance(schema, Mapping):
            raise self._refuse(f"no value is valid by the schema {schema!r}")
        if "$ref" in schema:
            return self._reference(schema)
        if "const" in schema or "enum" in schema:
            return _either(self._constant(each) for each in _choices(schema))
        return self._combined(schema)

    def _combined(self, schema: Mapping[str, Any]) -> str:
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._choice(schema, key)
        if "allOf" in schema:
            return self._single(schema)
        self._check(schema, _REFUSED)
        return self._typed(schema)

    def _check(self, schema: Mapping[str, Any], refused: Sequence[str]) -> None:
        for key in refused:
            if schema.get(key):
                raise self._refuse(f"{key!r} is not supported")

    def _reference(self, schema: Mapping[str, Any]) -> str:
        reference = schema["$ref"]
        target = resolve(reference, self._root)
        if target is None:
            raise self._refuse(f"the reference {reference!r} leads nowhere")
        if reference not in self._references:
            # The name is stored before the body is written: a schema may contain itself.
            name = f"{self._prefix}_ref_{len(self._references)}"
            self._references[reference] = name
            self._rules.append(f"{name}: {self._value(target)}")
        return self._references[reference]

    def _choice(self, schema: Mapping[str, Any], key: str) -> str:
        shared = {name: value for name, value in schema.items() if name != key}
        return _either(
            self._value({**shared, **each} if isinstance(each, Mapping) else each)
            for each in schema[key]
        )

    def _single(self, schema: Mapping[str, Any]) -> str:
        if len(schema["allOf"]) != 1 or not isinstance(schema["allOf"][0], Mapping):
            raise self._refuse("'allOf' of several schemas is not supported")
        rest = {name: value for name, value in schema.items() if name != "allOf"}
        return self._value({**rest, **schema["allOf"][0]})

    def _typed(self, schema: Mapping[str, Any]) -> str:
        types = allowed_types(schema, self._root)
        choices = []
        if "string" in types:
            if "type" in schema:
                self._check(schema, _STRING_REFUSED)
            choices.append("tool_string")
        plain = types & {"number", "integer", "boolean", "null"}
        if plain:
            bounds = {key: schema[key] for key in _NUMBER if key in schema}
            choices.append(json_value({"type": sorted(plain), **bounds}))
        if "array" in types:
            choices.append(self._array(schema))
        if "object" in types:
            choices.append(self._object(schema))
        return _either(choices)

    def _array(self, schema: Mapping[str, Any]) -> str:
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most == 0:
            return '"[]"'
        item = self._named(self._value(schema.get("items", True)))
        upper = "" if most is None else most - 1
        items = f'{item} ("," {item}){{{max(least - 1, 0)},{upper}}}'
        return f'"[" {items} "]"' if least else f'"[" ({items})? "]"'

    def _object(self, schema: Mapping[str, Any]) -> str:
        self._check(schema, _REFUSED)
        required = list(schema.get("required") or ())
        additional = schema.get("additionalProperties", True)
        properties = dict(schema.get("properties") or {})
        properties |= {key: additional for key in required if key not in properties}
        if not properties:
            return self._open_object(schema, additional)
        # Gemma's template sorts keys with Jinja's `dictsort`, which ignores case.
        members = [
            (self._member(key, properties[key]), key in required)
            for key in sorted(properties, key=str.lower)
        ]
        rests = [""]
        for member, needed in reversed(members[1:]):
            one = f'"," {member}' if needed else f'("," {member})?'
            rests.append(self._named(f"{one} {rests[-1]}".rstrip()))
        first = self._first(members, rests[::-1])
        return f'"{{" {first} "}}"'

    def _first(self, members: Sequence[tuple[str, bool]], rests: Sequence[str]) -> str:
        """Return the members from the first one on, which has no comma before it."""
        choices = []
        for (member, needed), rest in zip(members, rests, strict=True):
            choices.append(f"{member} {rest}".rstrip())
            if needed:
                return _either(choices)
        return _either(choices) + "?"

    def _member(self, key: str, schema: Any) -> str:
        if not key or _NO_KEY & set(key):
            raise self._refuse(f"the key {key!r} is not supported")
        return self._named(f"{literal(key + ':')} {self._value(schema)}")

    def _open_object(self, schema: Mapping[str, Any], additional: Any) -> str:
        if additional is False or "properties" in schema:
            return '"{}"'
        if additional is True or additional == {}:
            return "tool_object"
        member = self._named(f'tool_key ":" {self._value(additional)}')
        return f'"{{" ({member} ("," {member})*)? "}}"'

    def _constant(self, value: Any) -> str:
        return literal(self._written(value))

    def _written(self, value: Any) -> str:
        match value:
            case str():
                if QUOTE in value:
                    raise self._refuse(f"the value {value!r} is not supported")
                return QUOTE + value + QUOTE
            case list():
                return "[" + ",".join(map(self._written, value)) + "]"
            case dict():
                members = sorted(value.items(), key=lambda item: item[0].lower())
                return "{" + ",".join(f"{key}:{self._written(each)}" for key, each in members) + "}"
            case _:
                return encoded(value)


def _choices(schema: Mapping[str, Any]) -> Sequence[Any]:
    return [schema["const"]] if "const" in schema else schema["enum"]


def _either(choices: Iterable[str]) -> str:
    return "(" + " | ".join(choices) + ")"
