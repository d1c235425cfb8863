"""Objects have the properties that their schema lists, where it does not ask for others. Pure.

Such objects are valid by the schema too, and what people mean by it. A small model that may make
up properties does, and finds no end. xgrammar's strict mode, vLLM's default, reads schemas alike.
"""

from typing import Any

from pilotlight.guidance.json_schema.subschemas import rewrite

_COMPOSING = ("$ref", "anyOf", "oneOf")


def may_close(schema: Any) -> bool:
    """Tell whether each object in *schema* is described in one place.

    Where several schemas have to hold for one object, each closed against the other's properties,
    none would be left.
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
    """Return *node* so that its objects have no properties but those that it lists."""
    properties = node.get("properties")
    if not isinstance(properties, dict):
        return node
    if any(keyword in node for keyword in ("additionalProperties", "patternProperties")):
        return node
    required, least = node.get("required", []), node.get("minProperties", 0)
    if not isinstance(required, list) or not isinstance(least, int | float):
        return node  # llguidance refuses it
    if any(not isinstance(name, str) or name not in properties for name in required):
        return node
    if least > len(properties):
        return node
    return node | {"additionalProperties": False}
