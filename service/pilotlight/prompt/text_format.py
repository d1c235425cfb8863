"""`str.format` in a chat template: Python's own, with each field measured before it is written.

A format may hold formats (`{:{width}}`), so its sizes are known only when it is gone through.
"""

from collections.abc import Callable
from functools import update_wrapper
from types import BuiltinMethodType, MethodType
from typing import TYPE_CHECKING, Any

from jinja2.sandbox import SandboxedEscapeFormatter, SandboxedFormatter
from markupsafe import Markup

from pilotlight.prompt import bounds
from pilotlight.prompt.bounds import written_size
from pilotlight.prompt.errors import TemplateExceeded
from pilotlight.prompt.foreseen import check_field, check_fields

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2.sandbox import SandboxedEnvironment


class _Bounded(SandboxedFormatter):
    """Measures what every field writes, those inside of formats too. For one call."""

    def __init__(self, env: "Environment", **named: Any) -> None:
        super().__init__(env, **named)
        self._left = bounds.MAX_OUTPUT

    def convert_field(self, value: Any, conversion: Any) -> Any:
        """Write *value* as `!r`, `!s` or `!a` asks, which is text whatever it was."""
        if conversion is not None:
            # Each escapes: a character outside of ASCII is ten at the most.
            self._spend(written_size([value]))
        return super().convert_field(value, conversion)

    def format_field(self, value: Any, format_spec: str) -> Any:
        """Write *value* in the form *format_spec*, which has no more fields in it."""
        self._spend(check_field(value, format_spec))
        return super().format_field(value, format_spec)

    def _spend(self, characters: int) -> None:
        self._left -= characters
        if self._left < 0:
            raise TemplateExceeded("the chat template makes too large a value with format")


class _BoundedMarkup(_Bounded, SandboxedEscapeFormatter):
    """Escapes what it writes."""

    def _spend(self, characters: int) -> None:
        super()._spend(6 * characters)


def bounded_format(environment: "SandboxedEnvironment", value: Any) -> Callable[..., str] | None:
    """Return what to call for *value* where it is a string's `format` or `format_map`.

    As `SandboxedEnvironment.wrap_str_format` does, with another formatter.
    """
    if not isinstance(value, (MethodType, BuiltinMethodType)):
        return None
    text: Any = value.__self__
    if value.__name__ not in ("format", "format_map") or not isinstance(text, str):
        return None
    is_map = value.__name__ == "format_map"

    def call(*arguments: Any, **named: Any) -> str:
        check_fields(text)
        if is_map:
            (named,), arguments = arguments, ()
        if isinstance(text, Markup):
            formatter: _Bounded = _BoundedMarkup(environment, escape=text.escape)
        else:
            formatter = _Bounded(environment)
        return type(text)(formatter.vformat(text, arguments, named))

    return update_wrapper(call, value)
