"""Reads calls with the name in a header and one JSON object of arguments behind it."""

import re
from collections.abc import Iterable

from msgspec import Struct

from pilotlight.output.tool_calls.readers.call_reader import END, Schemas, StepReader, Tail
from pilotlight.output.tool_calls.readers.json_call import JsonCall, JsonShape


class HeaderPattern(Struct, frozen=True):
    """One way to write a header, and the pattern of every prefix of it."""

    whole: re.Pattern[str]
    begun: re.Pattern[str]


def header_pattern(*parts: str | re.Pattern[str]) -> HeaderPattern:
    """Return the pattern of these parts in sequence: fixed text, and regexes.

    Each prefix of what a regex matches must match it too, or be empty. The group `name` is the
    function's name.
    """
    atoms = [atom for part in parts for atom in _atoms(part)]
    begun = ""
    for atom in reversed(atoms):
        begun = f"(?:{atom}{begun})?"
    return HeaderPattern(re.compile("".join(atoms)), re.compile(begun))


def _atoms(part: str | re.Pattern[str]) -> list[str]:
    return [re.escape(char) for char in part] if isinstance(part, str) else [part.pattern]


# Names are bounded, so that text which only looks like a call is not held back for long.
SPACES = re.compile(r"[ \t\r\n]*")
WORD = re.compile(r"(?P<name>[\w.-]{1,128})")
NAME = re.compile(r"(?P<name>[^\s<>{}`]{1,128})")
OBJECT = re.compile(r"(?=\{)")


def match(patterns: Iterable[HeaderPattern], text: str) -> re.Match[str] | None:
    """Return the match of the first pattern that *text* begins with, or None."""
    return next((found for each in patterns if (found := each.whole.match(text))), None)


def begun(patterns: Iterable[HeaderPattern], text: str) -> bool:
    """Return whether *text* is a prefix of one of *patterns*."""
    return any(each.begun.fullmatch(text) for each in patterns)


class HeaderShape(Struct, frozen=True):
    """How a format writes its headers."""

    patterns: tuple[HeaderPattern, ...]
    tail: Tail = END
    content: str | None = None
    """The name that announces content rather than a call."""
    listed: bool = False
    """Whether only functions in the request are called, because the opener may be text."""

    def reader(self, opener: str, schemas: Schemas | None) -> "HeaderCall":
        """Return a reader of one call."""
        return HeaderCall(self, opener, schemas)


class HeaderCall(StepReader):
    """Reads a header, then the arguments: an object, or nothing before a closing tag."""

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
"""Characters of a harmony header at most, as in the reasoning format."""
_RECIPIENT = re.compile(r"(?:^|\s)to=([^\s<]+)")


class HarmonyCall(HeaderCall):
    """Reads a harmony message to a function: its header contains `to=functions.NAME`.

    Other recipients, such as gpt-oss's built-in tools, are called if the request lists them.
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
    """Reads both of Mistral's formats: a list of objects, or `NAME[CALL_ID]ID[ARGS]{…}`.

    The tokens between the name and the arguments may be missing: engines that skip control tokens
    drop them from the text.
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
