"""The schemas within a JSON Schema, and what its references lead to; everything else is data."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
MAPS = ("patternProperties", "properties")
ONES = ("additionalItems", "additionalProperties", "items", "propertyNames")
"""Keywords with a schema, or in old drafts a list of schemas."""
_DEFINITIONS = ("$defs", "definitions")


_LONGEST = 32
"""References to references that are followed; more are taken for a circle."""
_DIGITS = 9
"""Digits of an index in a list; Python refuses to convert thousands of digits."""


def rewrite(schema: Any, change: Callable[[dict[str, Any]], Any]) -> Any:
    """Return a copy of *schema* with *change* applied to every schema, inner ones first."""
    if not isinstance(schema, dict):
        return schema
    copy = dict(schema)
    for keyword in (*LISTS, *ONES):
        value = copy.get(keyword)
        if isinstance(value, list):
            copy[keyword] = [rewrite(one, change) for one in value]
        elif keyword in ONES and keyword in copy:
            copy[keyword] = rewrite(value, change)
    for keyword in (*MAPS, *_DEFINITIONS):
        value = copy.get(keyword)
        if isinstance(value, dict):
            copy[keyword] = {name: rewrite(one, change) for name, one in value.items()}
    return change(copy)


def count(schema: Any) -> int:
    """Return the number of schemas in *schema*, itself included."""
    seen = 0

    def see(one: dict[str, Any]) -> dict[str, Any]:
        nonlocal seen
        seen += 1
        return one

    rewrite(schema, see)
    return seen


def escaped(name: str) -> str:
    """Return *name* escaped for a JSON Pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def resolve(root: Any, reference: str) -> Any:
    """Return the target of *reference*, `#` and a JSON Pointer; raises `LookupError`."""
    node = root
    for part in pointer_of(reference).split("/")[1:]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(node, list):
            if not name.isdecimal() or len(name) > _DIGITS:
                raise KeyError(name)
            node = node[int(name)]
        elif isinstance(node, dict):
            node = node[name]
        else:
            raise KeyError(name)
    return node


def pointer_of(reference: str) -> str:
    """Return the JSON Pointer of the target of *reference*."""
    return reference.removeprefix("#")


def followed(schema: Any, root: Any) -> Any:
    """Return *schema*, or its target if it is nothing but a reference."""
    for _ in range(_LONGEST):
        if (
            not isinstance(schema, dict)
            or set(schema) != {"$ref"}
            or not isinstance(schema["$ref"], str)
        ):
            break
        schema = resolve(root, schema["$ref"])
    return schema
