"""Decoding with unknown fields left out, for `unknown_fields = ignore`.

The wire types forbid unknown fields, for that is what the document says. Here the fields that they
do not know are dropped from the parsed JSON first, wherever they stand.
"""

from typing import Any, TypeVar

import msgspec
from msgspec import inspect

T = TypeVar("T")


def decode(body: bytes, kind: type[T]) -> T:
    """Return *body* as *kind*, without the fields that it does not know; raises as msgspec does."""
    return msgspec.convert(_prune(msgspec.json.decode(body), inspect.type_info(kind)), kind)


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
