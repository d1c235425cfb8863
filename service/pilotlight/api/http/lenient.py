"""A second, slower reading for bodies that the strict decoder refuses.

JSON Schema counts 8.0 among the integers, and some clients write them so; msgspec's decoder does
not. Other clients dump every field of their own types, as `null` where it was not given: a field
that the wire types do not know counts as omitted where it is `null`, for it asks for nothing. Nor
does msgspec take an object without a tag for the one of several types that says it may go without.
And where `unknown_fields = ignore`, fields that the wire types do not know are dropped, wherever
they stand, and tools of types that nobody knows are skipped: the types themselves forbid them, for
that is what the document says. What the types refuse by name is refused here too.
"""

from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from msgspec import inspect

from pilotlight.schema.declared import decode_declared

T = TypeVar("T")


def decode(body: bytes, kind: type[T], *, ignore_unknown: bool) -> T:
    """Return *body* as *kind*; raises as msgspec does."""
    value = _with_integers(msgspec.json.decode(body))
    return _convert(value, kind, ignore_unknown=ignore_unknown)


def _convert(value: Any, kind: type[T], *, ignore_unknown: bool) -> T:
    def convert(value: Any, kind: type[Any]) -> Any:
        return _convert(value, kind, ignore_unknown=ignore_unknown)

    def declared(kind: type[Any], value: Any) -> Any:
        return decode_declared(kind, value, convert, skip_unknown=ignore_unknown)

    shaped = _shape(value, described(kind), ignore_unknown=ignore_unknown)
    return msgspec.convert(shaped, kind, dec_hook=declared)


def described(kind: type[Any]) -> inspect.Type:
    """Return what *kind* consists of; to look at it takes longer than to decode a request."""
    return _described(cast("Any", kind))  # mypy takes no type[T] for hashable


@cache
def _described(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _with_integers(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _with_integers(item) for name, item in value.items()}
        case list():
            return [_with_integers(item) for item in value]
    return value


def _shape(value: Any, kind: inspect.Type, *, ignore_unknown: bool) -> Any:
    match kind:
        case inspect.Metadata():
            return _shape(value, kind.type, ignore_unknown=ignore_unknown)
        case inspect.UnionType():
            return _shape_union(value, kind, ignore_unknown=ignore_unknown)
        case inspect.ListType() if isinstance(value, list):
            return [_shape(item, kind.item_type, ignore_unknown=ignore_unknown) for item in value]
        case inspect.StructType() if isinstance(value, dict):
            return _shape_struct(value, kind, ignore_unknown=ignore_unknown)
    return value


def _shape_struct(
    value: dict[str, Any], kind: inspect.StructType, *, ignore_unknown: bool
) -> dict[str, Any]:
    """Shape the fields; what *value* is goes first, so that of two faults its type's is told."""
    known = {field.encode_name: field.type for field in kind.fields}
    shaped = {} if kind.tag_field is None else {kind.tag_field: value.get(kind.tag_field, kind.tag)}
    for name, item in sorted(value.items(), key=lambda pair: pair[0] != "type"):
        if name in known:
            shaped[name] = _shape(item, known[name], ignore_unknown=ignore_unknown)
        elif not ignore_unknown and item is not None:
            shaped.setdefault(name, item)
    return shaped


def _shape_union(value: Any, union: inspect.UnionType, *, ignore_unknown: bool) -> Any:
    """Shape by the member that *value* is meant to be: by its tag, else by its JSON type."""
    for member in union.types:
        inner = member.type if isinstance(member, inspect.Metadata) else member
        if _is_meant(value, inner):
            return _shape(value, inner, ignore_unknown=ignore_unknown)
    return value


def _is_meant(value: Any, kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.ListType):
        return isinstance(value, list)
    if isinstance(kind, inspect.StructType) and isinstance(value, dict):
        if kind.tag_field is None:
            return True
        if kind.tag_field not in value:
            return bool(getattr(kind.cls, "untagged", False))
        return bool(value[kind.tag_field] == kind.tag)
    return False
