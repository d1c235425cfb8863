"""The JSON types that a schema allows, and text converted to a value of one of them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

ALL = frozenset({"string", "number", "integer", "boolean", "null", "object", "array"})

_DEPTH = 16
"""References followed; deeper ones, and circles, allow every type."""
_MANY = 1000
"""Schemas visited; more, as in circles that branch, allow every type."""


def parameter_types(schema: Mapping[str, Any] | None, parameter: str) -> frozenset[str]:
    """Return the types of one parameter of a function; all if it is not declared.

    *schema* describes the function's parameters.
    """
    if schema is None:
        return ALL
    return allowed_types(parameter_schema(schema, parameter), schema)


def parameter_schema(schema: Mapping[str, Any], parameter: str) -> Any:
    """Return the schema of one parameter; true if it is not declared."""
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and parameter in properties:
        return properties[parameter]
    return schema.get("additionalProperties", True)


def allowed_types(schema: Any, root: Mapping[str, Any]) -> frozenset[str]:
    """Return the types that *schema* allows; its local references point into *root*.

    An invalid schema or reference allows every type: schemas are validated elsewhere.
    """
    return _Walk(root).types(schema, 0)


class _Walk:
    """A walk through one schema and all its references, of bounded length."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = _MANY

    def types(self, schema: Any, depth: int) -> frozenset[str]:
        self._left -= 1
        if not isinstance(schema, Mapping) or depth > _DEPTH or self._left < 0:
            return ALL
        types = _named(schema.get("type"))
        if isinstance(schema.get("enum"), list):
            types &= frozenset(map(type_of, schema["enum"]))
        if "const" in schema:
            types &= {type_of(schema["const"])}
        for key in ("anyOf", "oneOf"):
            if isinstance(schema.get(key), list):
                types &= _union(self.types(each, depth + 1) for each in schema[key])
        parts = schema.get("allOf")
        for each in parts if isinstance(parts, list) else ():
            types &= self.types(each, depth + 1)
        if isinstance(schema.get("$ref"), str):
            types &= self.types(resolve(schema["$ref"], self._root), depth + 1)
        return types


def resolve(reference: str, root: Mapping[str, Any]) -> Any:
    """Return what a local reference (`#/$defs/x`) points to, or None."""
    if not reference.startswith("#"):
        return None
    found: Any = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found


def type_of(value: Any) -> str:
    """Return the JSON type of a decoded value; a whole number is an integer."""
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    return _TYPES.get(type(value), "object")


_TYPES = {type(None): "null", bool: "boolean", int: "integer", str: "string", list: "array"}


def converted(text: str, types: frozenset[str]) -> str | None:
    """Return *text* if it is JSON of one of *types*; None if it is a string.

    Uses the standard library's decoder, which takes numbers of any size, as JSON does. `True`,
    `False` and `None` count if such a type is declared: templates render earlier arguments with
    Jinja's `string` filter, and models copy them.
    """
    text = text.strip()
    if types != ALL:
        text = _PYTHON.get(text, text)
    try:
        kind = type_of(json.loads(text, parse_constant=_refuse))
    except (ValueError, RecursionError):
        return None
    if kind == "string":
        return None
    fits = kind in types or (kind == "integer" and "number" in types)
    return text if fits else None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_PYTHON = {"True": "true", "False": "false", "None": "null"}


def _named(types: Any) -> frozenset[str]:
    if isinstance(types, str):
        types = [types]
    if not isinstance(types, list):
        return ALL
    named = frozenset(each for each in types if isinstance(each, str) and each in ALL)
    return named | {"integer"} if "number" in named else named


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*sets)
