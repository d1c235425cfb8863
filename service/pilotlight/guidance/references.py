"""What a reference within a JSON Schema refers to. Pure."""

from typing import Any
from urllib.parse import unquote

_LONGEST = 32
"""References that refer to references, until one is taken for a circle."""
_DIGITS = 9
"""Of a place in a list; Python refuses to read numbers of thousands."""


def resolve(root: Any, reference: str) -> Any:
    """Return what *reference*, `#` and a JSON Pointer, refers to; raises `LookupError`."""
    node = root
    for part in place_of(reference).split("/")[1:]:
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(node, list):
            if not name.isdecimal() or len(name) > _DIGITS:
                raise KeyError(name)
            node = node[int(name)]
        elif isinstance(node, dict):
            node = node[name]
        else:
            raise KeyError(name)
    return node


def place_of(reference: str) -> str:
    """Return the JSON Pointer of what *reference* refers to."""
    return reference.removeprefix("#")


def followed(schema: Any, root: Any) -> Any:
    """Return *schema*, or what it refers to where it is nothing but a reference."""
    for _ in range(_LONGEST):
        if (
            not isinstance(schema, dict)
            or set(schema) != {"$ref"}
            or not isinstance(schema["$ref"], str)
        ):
            break
        schema = resolve(root, schema["$ref"])
    return schema
