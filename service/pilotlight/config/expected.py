"""Describe the values that the type of a setting allows."""

from typing import Annotated, Any, Literal, get_args, get_origin

from msgspec import Meta

EXPECTED = "expected"
"""Key in a `Meta`'s *extra*: what is expected, for types that a pattern defines."""

_PLAIN = {int: "an integer", float: "a number", bool: "true or false"}


def expected(kind: Any) -> str:
    """Describe a value of the type *kind*: `an integer from 0 to 65535`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        if any("," in str(one) for one in arguments):
            return f"one of {' '.join(map(repr, arguments))}"
        return f"one of {', '.join(map(str, arguments))}"
    if origin is not Annotated:
        return _PLAIN.get(kind) or (expected(arguments[0]) if arguments else "a string")
    bare, *annotations = arguments
    metas = [one for one in annotations if isinstance(one, Meta)]
    for meta in metas:
        if meta.extra and EXPECTED in meta.extra:
            return str(meta.extra[EXPECTED])
    return expected(bare) + _bounds(metas)


def _bounds(metas: list[Meta]) -> str:
    low = next((meta.ge for meta in metas if meta.ge is not None), None)
    high = next((meta.le for meta in metas if meta.le is not None), None)
    if low is None or high is None:
        return "" if low is None else f", at least {low:g}"
    return f" from {low:.10g} to {high:.10g}"
