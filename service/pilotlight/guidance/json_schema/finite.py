"""Finds schemas that no finite value is valid by. Pure.

A type that requires another value of its own type is one: a model that begins such a value writes
until `max_tokens`.
"""

from collections.abc import Mapping
from typing import Any

from pilotlight.guidance.json_schema.subschemas import escaped, pointer_of

_ROUNDS = 64
"""Rounds of the search: each settles schemas that need only settled ones. Longer chains pass."""

Schemas = Mapping[str, dict[str, Any]]
"""Every schema that a root leads to, by JSON Pointer, without true and false."""


def endless(schemas: Schemas) -> str | None:
    """Return the JSON Pointer of a schema without finite values, or None."""
    open_pointers = dict.fromkeys(reversed(list(schemas)))
    for _ in range(_ROUNDS):
        ended = [
            pointer
            for pointer in open_pointers
            if _HasFinite(open_pointers)(schemas[pointer], pointer)
        ]
        if not ended:
            return next(reversed(open_pointers), None)
        for pointer in ended:
            del open_pointers[pointer]
    return None


class _HasFinite:
    """Checks whether a schema has a finite value, if those at *open_pointers* have none."""

    def __init__(self, open_pointers: Mapping[str, None]) -> None:
        self._open = open_pointers

    def __call__(self, schema: dict[str, Any], pointer: str) -> bool:
        reference = schema.get("$ref")
        if isinstance(reference, str) and pointer_of(reference) in self._open:
            return False
        for keyword in ("anyOf", "oneOf"):
            options = schema.get(keyword)
            if (
                isinstance(options, list)
                and options
                and not any(self._all(options, pointer, keyword))
            ):
                return False
        parts = schema.get("allOf")
        if isinstance(parts, list) and not all(self._all(parts, pointer, "allOf")):
            return False
        match schema.get("type"):
            case "object":
                return self._object(schema, pointer)
            case "array":
                return self._array(schema, pointer)
            case _:
                return True  # may be a value without others inside

    def _all(self, schemas: list[Any], pointer: str, keyword: str) -> list[bool]:
        return [f"{pointer}/{keyword}/{index}" not in self._open for index in range(len(schemas))]

    def _object(self, schema: dict[str, Any], pointer: str) -> bool:
        required = schema.get("required")
        names = required if isinstance(required, list) else []
        return not any(f"{pointer}/properties/{escaped(str(name))}" in self._open for name in names)

    def _array(self, schema: dict[str, Any], pointer: str) -> bool:
        least = schema.get("minItems")
        least = least if isinstance(least, int) else 0
        of_tuple, of_rest = "prefixItems", "items"
        if isinstance(schema.get("items"), list):  # before draft 2020-12
            of_tuple, of_rest = "items", "additionalItems"
        first = schema.get(of_tuple)
        first = first[:least] if isinstance(first, list) else []
        more = least > len(first) and f"{pointer}/{of_rest}" in self._open
        return not more and all(self._all(first, pointer, of_tuple))
