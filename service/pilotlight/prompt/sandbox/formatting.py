"""`%`, `str.format` and `strftime`: bounds on what they write.

A format may hold formats (`{:{width}}`), so the sizes of `str.format` are known only while it runs:
Python's own formatter is used, and each field is measured before it is written.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import update_wrapper
from types import BuiltinMethodType, MethodType
from typing import TYPE_CHECKING, Any

from jinja2.sandbox import SandboxedEscapeFormatter, SandboxedFormatter
from markupsafe import Markup

from pilotlight.prompt.errors import TemplateExceeded
from pilotlight.prompt.sandbox import limits
from pilotlight.prompt.sandbox.estimates import ESCAPED, Arguments, number, too_large
from pilotlight.prompt.sandbox.sizes import length, written_size, written_together

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2.sandbox import SandboxedEnvironment

_CONVERSION = re.compile(r"[#0\- +]*(\*|\d*)(?:\.(\*|\d*))?[hlL]?.?", re.DOTALL)
"""A conversion of `%`, behind its `(name)`: docs.python.org, printf-style String Formatting."""
_FIELDS = 10_000
"""Conversions or fields in a format: each takes about 1 µs."""
_NAME = 1000
"""Characters of a name in a format."""
_TIME_WIDTH = re.compile(r"%[^A-Za-z%]*?(\d+)")
_TIME_FORMAT = 1000
"""Characters of a format of `strftime_now`; a width in it has at most three digits."""


def percent(value: Any, arguments: Arguments) -> int:
    """Estimate `value % arguments`: each conversion writes at most the longest argument."""
    text = str(value) if isinstance(value, str) else ""
    if text.count("%") > _FIELDS:
        raise too_large("%")
    arguments = [one for each in arguments for one in _values(each)]
    written_together(arguments)
    longest = max(map(written_size, arguments), default=0)
    escaped = ESCAPED if isinstance(value, Markup) else 1
    total, at = len(text), text.find("%")
    while at >= 0:
        conversion = _CONVERSION.match(text, _after_name(text, at + 1))
        assert conversion  # noqa: S101 - it matches the empty text too
        widths = [part for part in conversion.groups() if part]
        if "*" in widths:  # the width is an argument of any size
            raise too_large("%")
        total += sum(map(_digits, widths)) + escaped * longest + _FLOAT
        at = text.find("%", conversion.end())
    return total


def _after_name(text: str, start: int) -> int:
    """Return the index behind a conversion's `(name)`, in which parentheses may nest."""
    at, depth = start, 0
    while at < len(text) and (text[at] == "(" or depth):
        depth += (text[at] == "(") - (text[at] == ")")
        at += 1
        if at - start > _NAME:
            raise too_large("%")
        if not depth:
            break
    return at


_FLOAT = 330
"""Characters of the longest float without an exponent: 1e308 with six decimals."""


def _values(value: Any) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, tuple) else (value,)


def _digits(width: str) -> int:
    if len(width) > len(str(limits.MAX_NUMBER)):
        raise TemplateExceeded(
            f"the chat template: a width or precision in a format is over {limits.MAX_NUMBER}"
        )
    return number(int(width))


def _field_size(value: Any, spec: str) -> int:
    """Return the characters that *value* has in the format *spec*, at most."""
    return written_size(value) + _FLOAT + sum(_digits(one) for one in re.findall(r"\d+", spec))


def _check_fields(text: str) -> None:
    """Raise `TemplateExceeded` if the format *text* has too many fields."""
    if text.count("{") > _FIELDS:
        raise too_large("format")


def check_time_format(form: object) -> None:
    """Raise `TemplateExceeded` if `strftime_now` would write too many characters."""
    widths = _TIME_WIDTH.findall(form) if isinstance(form, str) else ()
    if length(form) > _TIME_FORMAT or any(len(one) > len("100") for one in widths):
        raise too_large("strftime_now")


class _Bounded(SandboxedFormatter):
    """Measures what every field writes, nested fields included. Serves one call."""

    def __init__(self, env: "Environment", **named: Any) -> None:
        super().__init__(env, **named)
        self._left = limits.MAX_OUTPUT

    def convert_field(self, value: Any, conversion: Any) -> Any:
        """Return *value* as text, converted by `!r`, `!s` or `!a`."""
        if conversion is not None:
            # `!r` and `!a` escape: a character outside ASCII becomes at most ten.
            self._spend(written_size([value]))
        return super().convert_field(value, conversion)

    def format_field(self, value: Any, format_spec: str) -> Any:
        """Return *value* formatted by *format_spec*, whose nested fields are resolved already."""
        self._spend(_field_size(value, format_spec))
        return super().format_field(value, format_spec)

    def _spend(self, characters: int) -> None:
        self._left -= characters
        if self._left < 0:
            raise TemplateExceeded("the chat template: the result of format is too large")


class _BoundedMarkup(_Bounded, SandboxedEscapeFormatter):
    """Escapes the values for HTML, as `Markup.format` does."""

    def _spend(self, characters: int) -> None:
        super()._spend(ESCAPED * characters)


def bounded_format(environment: "SandboxedEnvironment", value: Any) -> Callable[..., str] | None:
    """Return a bounded replacement for *value*, a string's `format` or `format_map`; else None.

    Does what `SandboxedEnvironment.wrap_str_format` does, with another formatter.
    """
    if not isinstance(value, (MethodType, BuiltinMethodType)):
        return None
    text: Any = value.__self__
    if value.__name__ not in ("format", "format_map") or not isinstance(text, str):
        return None
    is_map = value.__name__ == "format_map"

    def call(*arguments: Any, **named: Any) -> str:
        _check_fields(text)
        if is_map:
            (named,), arguments = arguments, ()
        if isinstance(text, Markup):
            formatter: _Bounded = _BoundedMarkup(environment, escape=text.escape)
        else:
            formatter = _Bounded(environment)
        return type(text)(formatter.vformat(text, arguments, named))

    return update_wrapper(call, value)
