"""A second, slower decoding for bodies that the strict decoder refuses.

- 8.0 is an integer in JSON Schema and in some clients' requests, and not for msgspec's decoder.
- A field that the wire types do not have counts as omitted if it is `null`: some clients dump
  every field of their own types.
- An object without a tag is of the one type that is marked `untagged`; msgspec has no such type.
- With `unknown_fields = ignore` unknown fields are dropped at any depth, and tools of unknown types
  are skipped. The types themselves forbid both, because that is what the document says.

Fields that are refused by name are refused here too.
"""

from functools import cache
from typing import Any, TypeVar, cast

import msgspec
from msgspec import inspect

from pilotlight.schema.declared import decode_declared

T = TypeVar("T")


def decode(value: Any, kind: type[T], *, ignore_unknown: bool) -> T:
    """Return *value*, decoded JSON, as *kind*; raises as msgspec does."""
    return _convert(_with_integers(value), kind, ignore_unknown=ignore_unknown)


def _convert(value: Any, kind: type[T], *, ignore_unknown: bool) -> T:
    def convert(value: Any, kind: type[Any]) -> Any:
        return _convert(value, kind, ignore_unknown=ignore_unknown)

    def declared(kind: type[Any], value: Any) -> Any:
        return decode_declared(kind, value, convert, skip_unknown=ignore_unknown)

    shaped = _shape(value, described(kind), ignore_unknown=ignore_unknown)
    return msgspec.convert(shaped, kind, dec_hook=declared)


def described(kind: type[Any]) -> inspect.Type:
    """Return msgspec's description of *kind*, which takes longer than to decode a request."""
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
    """Shape the fields, its type first, so that of two errors the type's is raised."""
    known = {field.encode_name: field.type for field in kind.fields}
    shaped = {} if kind.tag_field is None else {kind.tag_field: value.get(kind.tag_field, kind.tag)}
    for name, item in sorted(value.items(), key=lambda pair: pair[0] != "type"):
        if name in known:
            shaped[name] = _shape(item, known[name], ignore_unknown=ignore_unknown)
        elif not ignore_unknown and item is not None:
            shaped.setdefault(name, item)
    return shaped


def _shape_union(value: Any, union: inspect.UnionType, *, ignore_unknown: bool) -> Any:
    """Shape *value* as one member of *union*: by its tag, or else by its JSON type."""
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
