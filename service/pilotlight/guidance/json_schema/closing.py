"""Closes objects: adds `additionalProperties: false` to schemas that list properties. Pure.

The objects are valid by the original schema too, and this is what its author means. A small model
that may invent properties does so without end. xgrammar's strict mode, vLLM's default, does the
same.
"""

from typing import Any

from pilotlight.guidance.json_schema.subschemas import rewrite

_COMPOSING = ("$ref", "anyOf", "oneOf")


def may_close(schema: Any) -> bool:
    """Return whether each object in *schema* is described by one schema only.

    If several apply to one object, each closed to the properties of the others, no object is valid.
    """
    composed = False

    def look(node: dict[str, Any]) -> dict[str, Any]:
        nonlocal composed
        beside = "properties" in node and any(keyword in node for keyword in _COMPOSING)
        composed = composed or beside or "allOf" in node
        return node

    rewrite(schema, look)
    return not composed


def closed(node: dict[str, Any]) -> dict[str, Any]:
    """Return *node* with its objects limited to the listed properties, unless it says otherwise."""
    properties = node.get("properties")
    if not isinstance(properties, dict):
        return node
    if any(keyword in node for keyword in ("additionalProperties", "patternProperties")):
        return node
    required, least = node.get("required", []), node.get("minProperties", 0)
    if not isinstance(required, list) or not isinstance(least, int | float):
        return node  # llguidance refuses it
    if any(not isinstance(name, str) or name not in properties for name in required):
        return node  # a required property is not listed
    if least > len(properties):
        return node  # no object with the listed properties alone is valid
    return node | {"additionalProperties": False}
