"""Whether there is an end to the values that a JSON Schema asks for. Pure.

A type that must hold another of its own kind asks for values without end: a model that begins one
writes until its answer is cut.
"""

from collections.abc import Mapping
from typing import Any

from pilotlight.guidance.json_schema.subschemas import escaped, place_of

_ROUNDS = 64
"""Each round settles what leads to what is settled; schemas in longer chains are let be."""

Schemas = Mapping[str, dict[str, Any]]
"""Every schema that a root leads to, by its place; what is no object has an end, or is none."""


def endless(schemas: Schemas) -> str | None:
    """Return the place of a schema whose values have no end, if there is one."""
    open_places = dict.fromkeys(reversed(list(schemas)))
    for _ in range(_ROUNDS):
        ended = [place for place in open_places if _Ends(open_places)(schemas[place], place)]
        if not ended:
            return next(reversed(open_places), None)
        for place in ended:
            del open_places[place]
    return None


class _Ends:
    """Tells whether a schema has a value with an end, where the *open* places may have none."""

    def __init__(self, open_places: Mapping[str, None]) -> None:
        self._open = open_places

    def __call__(self, schema: dict[str, Any], place: str) -> bool:
        reference = schema.get("$ref")
        if isinstance(reference, str) and place_of(reference) in self._open:
            return False
        for keyword in ("anyOf", "oneOf"):
            options = schema.get(keyword)
            if (
                isinstance(options, list)
                and options
                and not any(self._all(options, place, keyword))
            ):
                return False
        parts = schema.get("allOf")
        if isinstance(parts, list) and not all(self._all(parts, place, "allOf")):
            return False
        match schema.get("type"):
            case "object":
                return self._object(schema, place)
            case "array":
                return self._array(schema, place)
            case _:
                return True  # it may be a value that holds no other

    def _all(self, schemas: list[Any], place: str, keyword: str) -> list[bool]:
        return [f"{place}/{keyword}/{index}" not in self._open for index in range(len(schemas))]

    def _object(self, schema: dict[str, Any], place: str) -> bool:
        required = schema.get("required")
        names = required if isinstance(required, list) else []
        return not any(f"{place}/properties/{escaped(str(name))}" in self._open for name in names)

    def _array(self, schema: dict[str, Any], place: str) -> bool:
        least = schema.get("minItems")
        least = least if isinstance(least, int) else 0
        of_tuple, of_rest = "prefixItems", "items"
        if isinstance(schema.get("items"), list):  # before draft 2020-12
            of_tuple, of_rest = "items", "additionalItems"
        first = schema.get(of_tuple)
        first = first[:least] if isinstance(first, list) else []
        more = least > len(first) and f"{place}/{of_rest}" in self._open
        return not more and all(self._all(first, place, of_tuple))
