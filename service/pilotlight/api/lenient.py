"""A second, slower reading for bodies that the strict decoder refuses.

JSON Schema counts 8.0 among the integers, and some clients write them so; msgspec's decoder does
not. And where `unknown_fields = ignore`, fields that the wire types do not know are dropped,
wherever they stand: the types themselves forbid them, for that is what the document says.
"""

from typing import Any, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T")


def decode(body: bytes, kind: type[T], *, ignore_unknown: bool) -> T:
    """Return *body* as *kind*; raises as msgspec does."""
    value = _with_integers(msgspec.json.decode(body))
    if ignore_unknown:
        value = _prune(value, inspect.type_info(kind))
    return msgspec.convert(value, kind)


def _with_integers(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _with_integers(item) for name, item in value.items()}
        case list():
            return [_with_integers(item) for item in value]
    return value


def _prune(value: Any, kind: inspect.Type) -> Any:
    match kind:
        case inspect.Metadata():
            return _prune(value, kind.type)
        case inspect.UnionType():
            return _prune_union(value, kind)
        case inspect.ListType() if isinstance(value, list):
            return [_prune(item, kind.item_type) for item in value]
        case inspect.StructType() if isinstance(value, dict):
            return _prune_struct(value, kind)
    return value


def _prune_struct(value: dict[str, Any], kind: inspect.StructType) -> dict[str, Any]:
    known = {field.encode_name: field.type for field in kind.fields}
    pruned = {name: _prune(item, known[name]) for name, item in value.items() if name in known}
    if kind.tag_field is not None and kind.tag_field in value:
        pruned[kind.tag_field] = value[kind.tag_field]
    return pruned


def _prune_union(value: Any, union: inspect.UnionType) -> Any:
    """Prune by the member that *value* is meant to be: by its tag, else by its JSON type."""
    for member in union.types:
        inner = member.type if isinstance(member, inspect.Metadata) else member
        if _is_meant(value, inner):
            return _prune(value, inner)
    return value


def _is_meant(value: Any, kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.ListType):
        return isinstance(value, list)
    if isinstance(kind, inspect.StructType) and isinstance(value, dict):
        return kind.tag_field is None or value.get(kind.tag_field) == kind.tag
    return False
