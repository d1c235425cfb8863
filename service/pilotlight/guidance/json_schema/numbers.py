"""Bounds on numbers: a weak model writes digits without end otherwise. Pure."""

import math
from typing import Any

MOST = 2**53 - 1
"""The largest integer that every JSON parser reads exactly. Source: RFC 7493, 2.2."""

FINEST = 1e-9
"""The `multipleOf` of numbers without their own."""
_WIDE = 1e-3
"""Ranges at least this wide contain enough multiples of `FINEST`."""

_LOWER = ("minimum", "exclusiveMinimum")
_UPPER = ("maximum", "exclusiveMaximum")


INTEGERS = 2**63 - 1024
"""The largest bound of integers in llguidance: the largest double below 2^63."""
_NUMBERS = 10**18
"""The largest bound of other numbers in llguidance."""


def with_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* with bounds if it allows numbers without, and with bounded fractions."""
    kinds = schema.get("type")
    named = kinds if isinstance(kinds, list) else [kinds]
    if "number" in named:
        return _with_end(_bounded(_clamped(_without_dust(schema), _NUMBERS, MOST)))
    return _bounded(_clamped(schema, INTEGERS, INTEGERS)) if "integer" in named else schema


def _without_dust(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* with bounds near 0, such as a type's smallest value, rounded to `FINEST`."""
    lower, upper = (_numbers(schema, names) for names in (_LOWER, _UPPER))
    if lower and upper and min(upper) - max(lower) < _WIDE:
        return schema  # a narrow range asks for such numbers
    changed = dict(schema)
    for key in (*_LOWER, *_UPPER):
        value = schema.get(key)
        if isinstance(value, int | float) and 0 < abs(value) < FINEST:
            upward = key in _LOWER
            changed[key] = (value > 0) * FINEST if upward else (value < 0) * -FINEST
    return changed


def _clamped(schema: dict[str, Any], most: int, limit: int) -> dict[str, Any]:
    """Return *schema* with bounds beyond ±*most* at ±*limit*, and others as exact doubles.

    Generators write the bounds of a type, ±2^63 or ±1.8e308. llguidance reads bounds as doubles: a
    bound that is not a double is rounded inwards, since outwards would allow invalid values.
    """
    if any(one > most for one in _numbers(schema, _LOWER)) or any(
        one < -most for one in _numbers(schema, _UPPER)
    ):
        return schema  # no value would be left; llguidance refuses it
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
    """Return the bounds of these *names*; llguidance refuses other values than numbers."""
    return [schema[name] for name in names if isinstance(schema.get(name), int | float)]


def _with_end(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* with fractions of at most nine digits, if its range is wide enough."""
    if any(name in schema for name in ("multipleOf", "enum", "const")):
        return schema
    lower, upper = (_numbers(schema, names) for names in (_LOWER, _UPPER))
    if not lower or not upper or max(lower) < -MOST or min(upper) > MOST:
        return schema
    wide = min(upper) - max(lower) >= _WIDE
    return schema | {"multipleOf": FINEST} if wide else schema
