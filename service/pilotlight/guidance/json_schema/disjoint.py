"""Checks whether schemas are disjoint: then `oneOf` means the same as `anyOf`. Pure.

llguidance checks the same, but does not follow references, so it refuses tagged unions whose types
are in `$defs`.
"""

from itertools import combinations
from typing import Any

from pilotlight.guidance.json_schema.subschemas import followed

_MANY = 64
"""Schemas in one `oneOf`; all pairs are compared."""


def are_disjoint(options: list[Any], root: Any) -> bool:
    """Return whether no value is valid by two of *options*, by type or by a required constant."""
    looked = [followed(option, root) for option in options]
    return len(options) <= _MANY and all(
        _disjoint(one, other, root) for one, other in combinations(looked, 2)
    )


def with_any_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* with `anyOf` in place of `oneOf`, whose schemas are disjoint."""
    options = schema.get("oneOf")
    if "anyOf" not in schema:
        # At the same position: llguidance writes properties in the order of the keywords.
        return {"anyOf" if key == "oneOf" else key: value for key, value in schema.items()}
    rest = {key: value for key, value in schema.items() if key != "oneOf"}
    others = rest.get("allOf", [])
    if not isinstance(others, list):
        return schema  # llguidance refuses it
    return rest | {"allOf": [*others, {"anyOf": options}]}


def _disjoint(one: Any, other: Any, root: Any) -> bool:
    if not isinstance(one, dict) or not isinstance(other, dict):
        return one is False or other is False
    types, others = _types(one), _types(other)
    if types is not None and others is not None and not types & others:
        return True
    if (texts := _values(one)) is not None and _apart(texts, _values(other)):
        return True
    return any(
        _apart(tags, _values(_property(other, name, root)))
        for name in _required(one)
        if name in _required(other) and (tags := _values(_property(one, name, root))) is not None
    )


def _apart(some: set[Any], others: set[Any] | None) -> bool:
    return others is not None and some.isdisjoint(others)


def _types(schema: dict[str, Any]) -> set[str] | None:
    """Return the types that *schema* allows, or None if it does not say."""
    named = schema.get("type")
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list):
        return None
    return {"number" if name == "integer" else str(name) for name in names}


def _required(schema: dict[str, Any]) -> list[str]:
    """Return the properties that every value has; none unless every value is an object."""
    names = schema.get("required")
    if not isinstance(names, list) or schema.get("type") != "object":
        return []
    return [name for name in names if isinstance(name, str)]


def _property(schema: dict[str, Any], name: str, root: Any) -> Any:
    properties = schema.get("properties")
    return followed(properties.get(name), root) if isinstance(properties, dict) else None


def _values(schema: Any) -> set[Any] | None:
    """Return the scalars that *schema* lists by `const` or `enum`, or None."""
    if not isinstance(schema, dict):
        return None
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(values, list) or any(isinstance(one, list | dict) for one in values):
        return None
    # In Python True == 1; in JSON true is not 1, and 1.0 is.
    return {(isinstance(one, bool), one) for one in values}
