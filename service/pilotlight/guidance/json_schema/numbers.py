"""Numbers of which there is an end: a weak model would write their digits for ever. Pure."""

import math
from typing import Any

MOST = 2**53 - 1
"""What every reader of JSON holds exactly. Source: RFC 7493, section 2.2."""

FINEST = 1e-9
"""What a number without a `multipleOf` of its own is a multiple of."""
_WIDE = 1e-3
"""A range as wide as this has fractions of nine digits in it, many."""

_LOWER = ("minimum", "exclusiveMinimum")
_UPPER = ("maximum", "exclusiveMaximum")


INTEGERS = 2**63 - 1024
"""The largest bound of integers that llguidance keeps: a double's, within 64 bits with a sign."""
_NUMBERS = 10**18
"""The largest bound of other numbers that it keeps."""


def with_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* with bounds where it allows numbers and has none, and an end to fractions."""
    kinds = schema.get("type")
    named = kinds if isinstance(kinds, list) else [kinds]
    if "number" in named:
        return _with_end(_bounded(_clamped(_without_dust(schema), _NUMBERS, MOST)))
    return _bounded(_clamped(schema, INTEGERS, INTEGERS)) if "integer" in named else schema


def _without_dust(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* with bounds that are nearly 0, as a type's smallest, at the next multiple."""
    lower, upper = (_numbers(schema, names) for names in (_LOWER, _UPPER))
    if lower and upper and min(upper) - max(lower) < _WIDE:
        return schema  # such numbers are what is asked for
    changed = dict(schema)
    for key in (*_LOWER, *_UPPER):
        value = schema.get(key)
        if isinstance(value, int | float) and 0 < abs(value) < FINEST:
            upward = key in _LOWER
            changed[key] = (value > 0) * FINEST if upward else (value < 0) * -FINEST
    return changed


def _clamped(schema: dict[str, Any], most: int, limit: int) -> dict[str, Any]:
    """Return *schema* with bounds beyond ±*most* at ±*limit*, and others where a double holds them.

    Generators write the bounds of a type, ±2^63 or ±1.8e308. llguidance reads them as doubles: of
    those that are none, the next one inwards, for a value between would not be valid.
    """
    if any(one > most for one in _numbers(schema, _LOWER)) or any(
        one < -most for one in _numbers(schema, _UPPER)
    ):
        return schema  # nothing would be left: it cannot be kept
    changed: dict[str, Any] = {}
    for key, value in schema.items():
        sign = (key in _UPPER) - (key in _LOWER)
        if not sign or not isinstance(value, int | float):
            changed[key] = value
        elif value * sign > most:
            changed[key.replace("exclusiveM", "m")] = limit * sign
        else:
            changed[key] = _inwards(value, sign) if isinstance(value, int) else value
    return changed


def _inwards(value: int, sign: int) -> int:
    double = float(value)
    if (int(double) - value) * sign > 0:
        double = math.nextafter(double, -math.inf * sign)
    return int(double)


def _bounded(schema: dict[str, Any]) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    lower, upper = (_numbers(schema, names) for names in (_LOWER, _UPPER))
    if not lower and all(value > -MOST for value in upper):
        bounds["minimum"] = -MOST
    if not upper and all(value < INTEGERS for value in lower):
        bounds["maximum"] = MOST if all(value < MOST for value in lower) else INTEGERS
    return schema | bounds


def _numbers(schema: dict[str, Any], names: tuple[str, str]) -> list[float]:
    """Return the bounds of these *names*; what is no number is llguidance's to refuse."""
    return [schema[name] for name in names if isinstance(schema.get(name), int | float)]


def _with_end(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* with fractions of nine digits, where that leaves enough to choose from."""
    if any(name in schema for name in ("multipleOf", "enum", "const")):
        return schema
    lower, upper = (_numbers(schema, names) for names in (_LOWER, _UPPER))
    if not lower or not upper or max(lower) < -MOST or min(upper) > MOST:
        return schema
    wide = min(upper) - max(lower) >= _WIDE
    return schema | {"multipleOf": FINEST} if wide else schema
