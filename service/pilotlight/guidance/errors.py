"""What can be wrong with a grammar. Messages name the thing and the value, and suit clients.

GuidanceError
└── GrammarInvalid            it cannot be read, is too large, or no text keeps to it
    └── SchemaUnsupported     a JSON Schema says what cannot be honoured, at a place
"""

import re

import msgspec


class GuidanceError(Exception):
    """Anything that can be wrong with a grammar."""


class GrammarInvalid(GuidanceError):
    """No guide can be made of it; *pointer* is the JSON Pointer of what is wrong in a schema."""

    def __init__(self, reason: str, pointer: str = "") -> None:
        super().__init__(reason)
        self.pointer = pointer

    @property
    def path(self) -> str:
        """The JSON path of what is wrong, to stand behind the path of the schema."""
        return json_path(self.pointer)


class SchemaUnsupported(GrammarInvalid):
    """A *keyword* of a JSON Schema cannot be honoured.

    It is refused rather than ignored: who asks for it would take the answer for valid.
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
        parent = "" if parent in _MAPS else name  # what a map holds are names, and no keywords
    return path
