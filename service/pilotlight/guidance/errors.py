"""What can be wrong with a grammar. Messages name the thing and the value, and suit clients.

GuidanceError
└── GrammarInvalid            it cannot be read, is too large, or no text keeps to it
    └── SchemaUnsupported     a JSON Schema says what cannot be honoured, at a place
"""


class GuidanceError(Exception):
    """Anything that can be wrong with a grammar."""


class GrammarInvalid(GuidanceError):
    """No guide can be made of it."""


class SchemaUnsupported(GrammarInvalid):
    """A *keyword* of a JSON Schema cannot be honoured; *pointer* is the JSON Pointer of its place.

    It is refused rather than ignored: who asks for it would take the answer for valid.
    """

    def __init__(self, keyword: str, pointer: str, reason: str) -> None:
        super().__init__(f"{reason} at '#{pointer}'")
        self.keyword = keyword
        self.pointer = pointer
