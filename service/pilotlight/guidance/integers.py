"""Integers of which there is an end: a weak model would write their digits for ever. Pure."""

from typing import Any

MOST = 2**53 - 1
"""What every reader of JSON holds exactly. Source: RFC 7493, section 2.2."""

_LOWER = ("minimum", "exclusiveMinimum")
_UPPER = ("maximum", "exclusiveMaximum")


def with_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* with bounds where it allows integers, no other numbers, and has none."""
    kinds = schema.get("type")
    named = kinds if isinstance(kinds, list) else [kinds]
    if "integer" not in named or "number" in named:
        return schema
    bounds = {}
    if not any(name in schema for name in _LOWER) and not _beyond(schema, _UPPER, -MOST):
        bounds["minimum"] = -MOST
    if not any(name in schema for name in _UPPER) and not _beyond(schema, _LOWER, MOST):
        bounds["maximum"] = MOST
    return schema | bounds


def _beyond(schema: dict[str, Any], names: tuple[str, str], bound: int) -> bool:
    """Tell whether a bound of its own leaves nothing within *bound*, or is none at all."""
    values = [schema[name] for name in names if name in schema]
    if not all(isinstance(value, int | float) for value in values):
        return True
    return any(value >= bound if bound > 0 else value <= bound for value in values)
