"""Additions to decode errors: why a field is refused, and what to send instead.

They are looked up after an error only, so that valid requests pay nothing.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import inspect

from pilotlight.api.http.lenient import described
from pilotlight.schema.declared import DeclaredTool
from pilotlight.schema.sampling import SamplingRequest
from pilotlight.schema.support import HINT, OTHER_NAMES, REFUSED, REFUSED_TYPES
from pilotlight_backend.decode_errors import UNKNOWN

_TYPE = re.compile(r"^invalid value '(?P<value>.*)'$")
_BOUND = re.compile(r"^expected an? \w+ (of at least|greater than|that matches) ")
_BLANK = (r"that matches '\S'", "that is not blank")
_LONGEST_NAME = 64
"""Characters of the longest unknown field that gets a suggestion."""
_STEPS = re.compile(r"[^.\[\]]+")


def explained(reason: str, param: str | None, kind: type[Any]) -> str:
    """Return *reason*, why the field *param* of a *kind* is wrong, with an explanation.

    That is why a field, or a message, item or tool of a type, is refused; or what a value can be.
    """
    if param is None:
        return reason
    if reason == UNKNOWN and issubclass(kind, SamplingRequest) and param in OTHER_NAMES:
        return f"{reason}; {OTHER_NAMES[param]}"
    if (refused := _said(kind, param, REFUSED)) is not None:
        return refused
    if reason == UNKNOWN:
        return f"{reason}{_suggestion(kind, param)}"
    if value := _TYPE.match(reason):
        advice = _of_type(value["value"], kind, param) or _allowed(kind, param)
        return f"{reason}; {advice}".removesuffix("; ")
    hint = _said(kind, param, HINT) if _BOUND.match(reason) else None
    return f"{reason.replace(*_BLANK)}; {hint}" if hint else reason


def _suggestion(kind: type[Any], param: str) -> str:
    """Return a suggestion: the field beside *param* with the most similar name."""
    *above, name = _STEPS.findall(param) or [""]  # a field may be named "" or "."
    if not name or len(name) > _LONGEST_NAME:
        return ""
    beside = [
        field.encode_name
        for found in _found(described(kind), iter(above))
        if isinstance(found, inspect.StructType)
        for field in found.fields
    ]
    close = difflib.get_close_matches(name, beside, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _allowed(kind: type[Any], param: str) -> str:
    """Return the allowed values: of a literal, or of a tag."""
    *above, name = steps = _STEPS.findall(param)
    tags = [
        found.tag
        for found in _found(described(kind), iter(above))
        if isinstance(found, inspect.StructType) and found.tag_field == name
    ]
    literals = [
        value
        for found in _found(described(kind), iter(steps))
        if isinstance(found, inspect.LiteralType)
        for value in found.values
    ]
    values = dict.fromkeys(map(str, tags + literals))
    return f"expected one of {', '.join(values)}" if len(values) > 1 else _only(values)


def _only(values: Iterable[str]) -> str:
    return "".join(f"expected {value}" for value in values)


def _of_type(value: str, kind: type[Any], param: str) -> str:
    if param.startswith("tool_choice"):
        for tool in _declared(kind):
            if tool.skipped_types.fullmatch(value):
                return "tools of this type are skipped, so the model cannot call one"
    return REFUSED_TYPES.get(value, "")


def _declared(kind: type[Any]) -> Iterator[type[DeclaredTool]]:
    for found in _found(described(kind), iter(("tools", "0"))):
        if isinstance(found, inspect.CustomType):
            yield found.cls


def _said(kind: type[Any], param: str, key: str) -> str | None:
    """Return *key* in the `Meta.extra` of the field at *param*."""
    for found in _found(described(kind), iter(_STEPS.findall(param))):
        if isinstance(found, inspect.Metadata) and key in (found.extra or {}):
            return str((found.extra or {})[key])
    return None


def _found(kind: inspect.Type, steps: Iterator[str]) -> list[inspect.Type]:
    """Return the types at the end of *steps*, each with its wrappers."""
    found = [kind]
    for step in steps:
        found = [below for one in found for below in _below(one, step)]
    return [one for kind in found for one in _unwrapped(kind)]


def _below(kind: inspect.Type, step: str) -> Iterator[inspect.Type]:
    for one in _unwrapped(kind):
        match one:
            case inspect.StructType():
                yield from (field.type for field in one.fields if field.encode_name == step)
            case inspect.ListType() if step.isdecimal():
                yield one.item_type


def _unwrapped(kind: inspect.Type) -> Iterable[inspect.Type]:
    """Yield *kind* and the types that it wraps, without entering fields and items."""
    yield kind
    match kind:
        case inspect.Metadata():
            yield from _unwrapped(kind.type)
        case inspect.UnionType():
            for member in kind.types:
                yield from _unwrapped(member)
        case inspect.CustomType() if issubclass(kind.cls, DeclaredTool):
            yield described(kind.cls.offered)
