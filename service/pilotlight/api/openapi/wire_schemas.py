"""JSON Schemas of the wire types, as msgspec writes them, adapted to generators of clients."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

_PREFIX = "#/components/schemas/"
REF = _PREFIX + "{name}"

Schema = Mapping[str, Any]


def finished(
    components: Mapping[str, Schema], *, requests: Iterable[Any], responses: Iterable[Any]
) -> dict[str, Any]:
    """Return *components* with what msgspec leaves open.

    *requests* and *responses* are schemas that reach the components of either direction.
    """
    asked = _reached(components, requests)
    sent = _reached(components, responses) - asked
    return {
        name: spelled_out(_always_sent(schema) if name in sent else schema)
        for name, schema in sorted(components.items())
    }


def merged(components: Mapping[str, Any], same: Mapping[str, str]) -> dict[str, Any]:
    """Return *components* without the keys of *same*, whose values stand for them.

    Raises `ValueError` for two whose schemas differ in more than title and description.
    """
    for name, other in same.items():
        if name in components and _bare(components[name]) != _bare(components[other]):
            raise ValueError(f"the schema of {name} is not that of {other}")
    names = {REF.format(name=name): REF.format(name=other) for name, other in same.items()}
    kept = {name: schema for name, schema in components.items() if name not in same}
    return {name: _renamed(schema, names) for name, schema in kept.items()}


def _bare(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key not in {"title", "description"}}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Return *value* with other references: those of `$ref`, and of a discriminator's mapping."""
    match value:
        case str():
            return names.get(value, value)
        case list():
            return [_renamed(item, names) for item in value]
        case Mapping():
            return {key: _renamed(item, names) for key, item in value.items()}
        case _:
            return value


def _reached(components: Mapping[str, Schema], roots: Iterable[Any]) -> set[str]:
    """Return the names of the components that *roots* reach, directly or not."""
    reached: set[str] = set()
    ahead = list(roots)
    while ahead:
        names = set(_references(ahead.pop())) - reached
        reached |= names
        ahead += [components[name] for name in names]
    return reached


def _references(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(_PREFIX)
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _references(item)


def spelled_out(value: Any) -> Any:
    """Add what JSON Schema leaves implicit, and omit what has no effect.

    - An array without `items` holds anything: openapi-python-client (0.29) drops the whole type.
    - An object that says nothing of its fields has any: openapi-typescript (7.13) has it empty.
    - `default: null` is what an absent field means, but openapi-typescript takes any field
      with a default for one that is always there, and asks for it in requests.
    - A docstring keeps its indentation.
    - `async_` beside `async` is what Python's SDKs dump for it. A generated client has one name for
      both: openapi-python-client (0.29) drops the whole type.
    """
    if isinstance(value, list):
        return [spelled_out(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    spelled = {
        key: spelled_out(item)
        for key, item in value.items()
        if not (key == "default" and item is None)
    }
    if isinstance(fields := spelled.get("properties"), dict):
        spelled["properties"] = {
            name: field
            for name, field in fields.items()
            if not (name.endswith("_") and name[:-1] in fields)
        }
    if value.get("type") == "array":
        spelled.setdefault("items", {})
    if value.get("type") == "object" and "properties" not in value:
        spelled.setdefault("additionalProperties", True)
    if isinstance(value.get("description"), str):
        spelled["description"] = inspect.cleandoc(value["description"])
    return spelled


def _always_sent(schema: Any) -> Any:
    """Make the fields of a response that have a default required: they are always written.

    A response's struct omits fields that are `UNSET`, which is not a default, and no others.
    """
    properties = schema.get("properties")
    if properties is None:
        return schema
    required = set(schema.get("required", ()))
    return schema | {
        "properties": {name: _without_default(field) for name, field in properties.items()},
        "required": [
            name for name, field in properties.items() if name in required or "default" in field
        ],
    }


def _without_default(field: Schema) -> Schema:
    return {key: value for key, value in field.items() if key != "default"}
