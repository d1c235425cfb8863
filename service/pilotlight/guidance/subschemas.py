"""Where a JSON Schema has schemas within it; all else in it is data. Pure."""

from collections.abc import Callable
from typing import Any

LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
MAPS = ("patternProperties", "properties")
ONES = ("additionalItems", "additionalProperties", "items", "propertyNames")
"""A schema, or in old drafts a list of them."""
_DEFINITIONS = ("$defs", "definitions")


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
