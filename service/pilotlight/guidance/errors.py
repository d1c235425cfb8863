"""Errors of grammars. Clients see the messages.

GuidanceError
└── GrammarInvalid            it cannot be parsed, is too large, or no text matches it
    └── SchemaUnsupported     a keyword of a JSON Schema is not supported
"""

import re

import msgspec


class GuidanceError(Exception):
    """A grammar cannot be used."""


class GrammarInvalid(GuidanceError):
    """No guide can be made of it; *pointer* is the JSON Pointer to the fault in a schema."""

    def __init__(self, reason: str, pointer: str = "") -> None:
        super().__init__(reason)
        self.pointer = pointer

    @property
    def path(self) -> str:
        """The JSON path of the fault, to append to the path of the schema."""
        return json_path(self.pointer)


class SchemaUnsupported(GrammarInvalid):
    """A *keyword* of a JSON Schema is not supported.

    It is refused rather than ignored: a client relies on the output being valid.
    """

    def __init__(self, keyword: str, pointer: str, reason: str) -> None:
        super().__init__(reason, pointer)
        self.keyword = keyword


_PLAIN = re.compile(r"[\w$-]+")
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items", "enum", "required"})
_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions"})


def json_path(pointer: str) -> str:
    """Return a JSON Pointer into a schema as a path: `.properties.to.anyOf[1]`."""
    path, parent = "", ""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if parent in _LISTS and name.isdecimal():
            path += f"[{name}]"
        elif _PLAIN.fullmatch(name):
            path += f".{name}"
        else:
            path += f"[{msgspec.json.encode(name).decode()}]"
        parent = "" if parent in _MAPS else name  # the members of a map are names, not keywords
    return path
