"""Bounds on what `+`, `*`, `**`, `%` and `~` make."""

from typing import Any

from markupsafe import Markup

from pilotlight.prompt.sandbox import limits
from pilotlight.prompt.sandbox.estimates import ESCAPED, too_large
from pilotlight.prompt.sandbox.formatting import percent
from pilotlight.prompt.sandbox.sizes import bits, length, written_together


def check_operator(operator: str, left: Any, right: Any) -> None:
    """Raise `TemplateExceeded` if the result of *operator* would be too large."""
    if operator == "**":
        exceeds = bits(left) * abs(right) > limits.MAX_BITS if isinstance(right, int) else False
    elif operator == "*":
        exceeds = (
            _repeated(left, right)
            or _repeated(right, left)
            or bits(left) + bits(right) > limits.MAX_BITS
        )
    elif operator == "%":
        exceeds = isinstance(left, str) and percent(left, [right]) > limits.MAX_OUTPUT
    else:
        exceeds = _added(left, right)
    if exceeds:
        raise too_large(operator)


def _repeated(value: Any, count: Any) -> bool:
    return isinstance(count, int) and length(value) * count > _limit_of(value)


def _added(left: Any, right: Any) -> bool:
    together = length(left) + length(right)
    escaped = ESCAPED if isinstance(left, Markup) or isinstance(right, Markup) else 1
    return escaped * together > _limit_of(left)


def _limit_of(value: Any) -> int:
    return limits.MAX_OUTPUT if isinstance(value, str) else limits.MAX_ELEMENTS


def check_joined(parts: tuple[object, ...]) -> None:
    """Raise `TemplateExceeded` if `~` would write too long a text of *parts*."""
    written_together(parts)
