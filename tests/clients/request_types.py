"""What becomes of each field that an SDK's request types have, walked beside our wire types."""

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin

import typing_extensions
from msgspec import inspect

from pilotlight.schema.declared import DeclaredTool
from pilotlight.schema.support import ACCEPTED, REFUSED, REFUSED_TYPES

_WRAPPERS = (
    typing.Annotated,
    typing.Required,
    typing.NotRequired,
    typing_extensions.Required,
    typing_extensions.NotRequired,
)


def unclassified(
    asked: type[Any], kind: type[Any], *, headers: Iterable[str] = ()
) -> Iterator[str]:
    """Yield what an SDK's TypedDict *asked* can say and *kind* neither takes nor refuses by name.

    That are fields, at every depth, types of items and parts, and values of a list of such; each
    with its path. *headers* are fields that the SDK sends as headers.
    """
    yield from _fields(asked, [inspect.type_info(kind)], "", set(), frozenset(headers))


def _fields(
    asked: type[Any],
    ours: list[inspect.Type],
    path: str,
    seen: set[tuple[Any, ...]],
    skip: frozenset[str],
) -> Iterator[str]:
    """Compare the fields of *asked* with those of our structs that it may be."""
    structs = [one for one in ours if isinstance(one, inspect.StructType)]
    key = (asked, tuple(one.cls for one in structs))
    if key in seen:
        return
    seen.add(key)
    for name, hint in typing_extensions.get_type_hints(asked).items():
        if name in skip:
            continue
        place = f"{path}.{name}".removeprefix(".")
        tags = [one for one in structs if one.tag_field == name]
        fields = [field for one in structs for field in one.fields if field.encode_name == name]
        if tags:
            continue  # by it the struct was chosen
        if not fields:
            yield place
            continue
        kinds = [kind for field in fields for kind in unwrapped(field.type)]
        if any(_is_left_aside(kind) for kind in kinds):
            continue
        yield from _values(hint, kinds, place)
        for member in _typed_dicts(hint):
            yield from _member(member, kinds, place, seen)


def _member(
    member: type[Any], kinds: list[inspect.Type], place: str, seen: set[tuple[Any, ...]]
) -> Iterator[str]:
    """Compare one of the types that a field, or an item of it, can have with ours."""
    if any(isinstance(kind, inspect.DictType | inspect.AnyType) for kind in kinds):
        return
    tags = {tag: _literals(hint) for tag, hint in _hints(member).items() if tag in ("type", "role")}
    said = [value for values in tags.values() for value in values]
    declared = [kind.cls for kind in kinds if isinstance(kind, inspect.CustomType)]
    if place == "tool_choice":  # one of a skipped type is refused by name
        declared = DeclaredTool.__subclasses__()
    if any(tool.skipped_types.fullmatch(value) for tool in declared for value in said):
        return
    meant = [kind for kind in kinds if _is_meant(kind, tags)]
    if meant:
        yield from _fields(member, meant, place, seen, frozenset())
    elif not any(value in REFUSED_TYPES for value in said):
        yield f"{place}: {member.__name__} {said}"


def _is_meant(kind: inspect.Type, tags: Mapping[str, tuple[Any, ...]]) -> bool:
    if not isinstance(kind, inspect.StructType):
        return False
    if kind.tag_field is not None:
        said = tags.get(kind.tag_field, ())
        return kind.tag in said
    for field in kind.fields:
        ours = [value for one in unwrapped(field.type) for value in _our_literals(one)]
        if field.encode_name in tags and ours and not set(ours) & set(tags[field.encode_name]):
            return False
    return True


def _values(hint: Any, kinds: list[inspect.Type], place: str) -> Iterator[str]:
    ours = [value for kind in kinds for value in _our_literals(kind)]
    if not ours or any(isinstance(kind, inspect.StrType) for kind in kinds):
        return
    yield from (
        f"{place}: {value!r}"
        for value in _literals(hint)
        if value not in ours and value not in REFUSED_TYPES
    )


def _is_left_aside(kind: inspect.Type) -> bool:
    extra = (kind.extra or {}) if isinstance(kind, inspect.Metadata) else {}
    return ACCEPTED in extra or REFUSED in extra


def _our_literals(kind: inspect.Type) -> tuple[Any, ...]:
    return kind.values if isinstance(kind, inspect.LiteralType) else ()


def unwrapped(kind: inspect.Type) -> list[inspect.Type]:
    """Return *kind* and what it is made of, over lists too, until a field would be named."""
    below: Iterable[inspect.Type] = ()
    match kind:
        case inspect.Metadata():
            below = (kind.type,)
        case inspect.UnionType():
            below = kind.types
        case inspect.ListType():
            below = (kind.item_type,)
        case inspect.CustomType() if issubclass(kind.cls, DeclaredTool):
            below = (inspect.type_info(kind.cls.offered),)
    return [kind, *(one for each in below for one in unwrapped(each))]


# ── an SDK's types ──────────────────────────────────────────────────────────────────────────────


def _hints(asked: type[Any]) -> dict[str, Any]:
    return typing_extensions.get_type_hints(asked)


def _bare(hint: Any) -> Any:
    while get_origin(hint) in _WRAPPERS:
        hint = get_args(hint)[0]
    return hint


def _typed_dicts(hint: Any) -> Iterator[type[Any]]:
    hint = _bare(hint)
    if typing_extensions.is_typeddict(hint):
        yield hint
    elif get_origin(hint) is not Literal:
        for inner in get_args(hint):
            yield from _typed_dicts(inner)


def _literals(hint: Any) -> tuple[Any, ...]:
    """Return the texts that a value, or an item of a list, may be."""
    hint = _bare(hint)
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) in (Union, types.UnionType, list):
        return tuple(value for inner in get_args(hint) for value in _literals(inner))
    return ()
