"""Calls with the name in a header, and one JSON object of arguments behind it."""

import re
from collections.abc import Iterable

from msgspec import Struct

from pilotlight.output.tool_calls.readers.call_reader import END, Schemas, StepReader, Tail
from pilotlight.output.tool_calls.readers.json_call import JsonCall, JsonShape


class HeaderPattern(Struct, frozen=True):
    """One way to write a header: its pattern, and that of every text that may become one."""

    whole: re.Pattern[str]
    begun: re.Pattern[str]


def header_pattern(*parts: str | re.Pattern[str]) -> HeaderPattern:
    """Make the form that these parts make up, in a row: fixed text, and patterns.

    The beginning of what a pattern matches must match it too, or be empty. The group `name` is
    the function's name.
    """
    atoms = [atom for part in parts for atom in _atoms(part)]
    begun = ""
    for atom in reversed(atoms):
        begun = f"(?:{atom}{begun})?"
    return HeaderPattern(re.compile("".join(atoms)), re.compile(begun))


def _atoms(part: str | re.Pattern[str]) -> list[str]:
    return [re.escape(char) for char in part] if isinstance(part, str) else [part.pattern]


# Names are bounded, so that text which only looks like one is not held back for long.
SPACES = re.compile(r"[ \t\r\n]*")
WORD = re.compile(r"(?P<name>[\w.-]{1,128})")
NAME = re.compile(r"(?P<name>[^\s<>{}`]{1,128})")
OBJECT = re.compile(r"(?=\{)")


def match(patterns: Iterable[HeaderPattern], text: str) -> re.Match[str] | None:
    """Return the match of the form that *text* begins with."""
    return next((found for each in patterns if (found := each.whole.match(text))), None)


def begun(patterns: Iterable[HeaderPattern], text: str) -> bool:
    """Tell whether *text* may still become one of *patterns*."""
    return any(each.begun.fullmatch(text) for each in patterns)


class HeaderShape(Struct, frozen=True):
    """How a format writes its headers."""

    patterns: tuple[HeaderPattern, ...]
    tail: Tail = END
    content: str | None = None
    """The name that says that content follows, and no call."""
    listed: bool = False
    """Whether only functions that the request lists are called, for the opener may be text."""

    def reader(self, opener: str, schemas: Schemas | None) -> "HeaderCall":
        """Make the reader of one call."""
        return HeaderCall(self, opener, schemas)


class HeaderCall(StepReader):
    """A header, then the arguments: an object, or nothing where what may follow a call does."""

    def __init__(self, shape: HeaderShape, opener: str, schemas: Schemas | None) -> None:
        super().__init__(opener, schemas, shape.tail)
        self._shape = shape
        self._found = ""

    def _open(self) -> bool:
        found = match(self._shape.patterns, self.rest)
        if found is None:
            return False if begun(self._shape.patterns, self.rest) else self._break()
        self.rest = self.rest[found.end() :]
        if found["name"] == self._shape.content:
            self.state = "passed"
            return False
        return self._named(found["name"], listed=self._shape.listed)

    def _named(self, name: str, *, listed: bool) -> bool:
        if listed and self._unknown(name):
            return self._break()
        self._found = name
        self._step = self._arguments_start
        return True

    def _arguments_start(self) -> bool:
        first = self._skip_space()
        if first == "{":
            self.name = self._found
            self._step = self._read_arguments
            return True
        closers = self.tail.closers
        if first and any(self.rest.startswith(closer) for closer in closers):
            self.name, self.arguments, self.state = self._found, "{}", "complete"
        elif first and not any(closer.startswith(self.rest) for closer in closers):
            return self._break()
        return False

    def _read_arguments(self) -> bool:
        self.arguments += self._advance()
        if self._value.state == "complete":
            self.state = "complete"
        return self.state == "reading"


_MESSAGE = "<|message|>"
_HARMONY_LIMIT = 256
"""Characters in which a harmony header must have ended, as for its reasoning."""
_RECIPIENT = re.compile(r"(?:^|\s)to=([^\s<]+)")


class HarmonyCall(HeaderCall):
    """A harmony message to a function: `to=functions.NAME` stands anywhere in its header.

    Other recipients, as the model's built-in tools, are called where the request lists them.
    """

    def _open(self) -> bool:
        end = self.rest.find(_MESSAGE, 0, _HARMONY_LIMIT)
        if end < 0:
            return False if len(self.rest) < _HARMONY_LIMIT else self._break()
        header = self._opener.removeprefix("<|start|>").removeprefix("<|channel|>")
        found = _RECIPIENT.search(header + self.rest[:end])
        if found is None:
            return self._break()
        name = found[1].removeprefix("functions.")
        if not name or (name == found[1] and name not in (self._schemas or ())):
            return self._break()
        self.rest = self.rest[end + len(_MESSAGE) :]
        return self._named(name, listed=False)


class MistralCall(JsonCall):
    """Mistral's two ways: a list of objects, or `NAME[CALL_ID]ID[ARGS]{…}`.

    The tokens between the name and the arguments may be missing, as where an engine leaves them
    out of the text.
    """

    _PATTERNS = (
        header_pattern(SPACES, WORD, "[ARGS]", SPACES, OBJECT),
        header_pattern(
            SPACES, WORD, "[CALL_ID]", re.compile(r"[\w-]{1,128}"), "[ARGS]", SPACES, OBJECT
        ),
        header_pattern(SPACES, WORD, SPACES, OBJECT),
    )

    def __init__(self, opener: str, schemas: Schemas | None) -> None:
        super().__init__(JsonShape(listed="maybe"), opener, schemas)

    def _list(self) -> bool:
        first = self._skip_space()
        if first and first not in "[{":
            self._step = self._header
            return True
        return super()._list()

    def _header(self) -> bool:
        found = match(self._PATTERNS, self.rest)
        if found is None:
            return False if begun(self._PATTERNS, self.rest) else self._break()
        self.name, self.rest = found["name"], self.rest[found.end() :]
        self._step = self._only_arguments
        return True

    def _only_arguments(self) -> bool:
        self.arguments += self._advance()
        if self._value.state == "complete":
            self.state = "complete"
        return self.state == "reading"
