"""Numbers of which there is an end: a weak model would write their digits for ever. Pure."""

from typing import Any

MOST = 2**53 - 1
"""What every reader of JSON holds exactly. Source: RFC 7493, section 2.2."""

FINEST = 1e-9
"""What a number without a `multipleOf` of its own is a multiple of."""
_WIDE = 1e-3
"""A range as wide as this has fractions of nine digits in it, many."""

_LOWER = ("minimum", "exclusiveMinimum")
_UPPER = ("maximum", "exclusiveMaximum")


def with_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* with bounds where it allows numbers and has none, and an end to fractions."""
    kinds = schema.get("type")
    named = kinds if isinstance(kinds, list) else [kinds]
    if "number" in named:
        return _with_end(_bounded(schema))
    return _bounded(schema) if "integer" in named else schema


def _bounded(schema: dict[str, Any]) -> dict[str, Any]:
    bounds = {}
    if not any(name in schema for name in _LOWER) and not _beyond(schema, _UPPER, -MOST):
        bounds["minimum"] = -MOST
    if not any(name in schema for name in _UPPER) and not _beyond(schema, _LOWER, MOST):
        bounds["maximum"] = MOST
    return schema | bounds


def _with_end(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* with fractions of nine digits, where that leaves enough to choose from."""
    if any(name in schema for name in ("multipleOf", "enum", "const")):
        return schema
    lower, upper = (
        [schema[name] for name in names if isinstance(schema.get(name), int | float)]
        for names in (_LOWER, _UPPER)
    )
    if not lower or not upper or max(lower) < -MOST or min(upper) > MOST:
        return schema
    wide = min(upper) - max(lower) >= _WIDE
    return schema | {"multipleOf": FINEST} if wide else schema


def _beyond(schema: dict[str, Any], names: tuple[str, str], bound: int) -> bool:
    """Tell whether a bound of its own leaves nothing within *bound*, or is none at all."""
    values = [schema[name] for name in names if name in schema]
    if not all(isinstance(value, int | float) for value in values):
        return True
    return any(value >= bound if bound > 0 else value <= bound for value in values)
