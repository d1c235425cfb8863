"""The schemas within a JSON Schema, and what its references lead to; everything else is data."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
MAPS = ("patternProperties", "properties")
ONES = ("additionalItems", "additionalProperties", "items", "propertyNames")
"""A schema, or in old drafts a list of them."""
_DEFINITIONS = ("$defs", "definitions")


_LONGEST = 32
"""References that refer to references, until one is taken for a circle."""
_DIGITS = 9
"""Of a place in a list; Python refuses to read numbers of thousands."""


def rewrite(schema: Any, change: Callable[[dict[str, Any]], Any]) -> Any:
    """Return a copy of *schema* in which *change* has seen every schema, the inner ones first."""
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
    """Return how many schemas *schema* has, itself included."""
    seen = 0

    def see(one: dict[str, Any]) -> dict[str, Any]:
        nonlocal seen
        seen += 1
        return one

    rewrite(schema, see)
    return seen


def escaped(name: str) -> str:
    """Return *name* as a part of a JSON Pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def resolve(root: Any, reference: str) -> Any:
    """Return what *reference*, `#` and a JSON Pointer, refers to; raises `LookupError`."""
    node = root
    for part in place_of(reference).split("/")[1:]:
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


def place_of(reference: str) -> str:
    """Return the JSON Pointer of what *reference* refers to."""
    return reference.removeprefix("#")


def followed(schema: Any, root: Any) -> Any:
    """Return *schema*, or what it refers to where it is nothing but a reference."""
    for _ in range(_LONGEST):
        if (
            not isinstance(schema, dict)
            or set(schema) != {"$ref"}
            or not isinstance(schema["$ref"], str)
        ):
            break
        schema = resolve(root, schema["$ref"])
    return schema
