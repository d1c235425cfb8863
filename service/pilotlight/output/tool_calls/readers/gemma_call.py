"""Reads Gemma 4's calls: `call:NAME{key:<|"|>text<|"|>,n:1}`, its own syntax for JSON values."""

import re

import msgspec

from pilotlight.output.json_value import JsonValue
from pilotlight.output.text import Markers
from pilotlight.output.tool_calls.readers.call_reader import (
    Schemas,
    StepReader,
    Tail,
    encoded,
    escaped,
)
from pilotlight.output.tool_calls.readers.header_call import NAME, OBJECT, SPACES, header_pattern

QUOTE = '<|"|>'

_HEADER = header_pattern(SPACES, "call:", NAME, OBJECT)
_BARE = re.compile(r"[^,\]}]*")
_KEY = re.compile(r"[^:,{}\[\]]{1,256}")
_PLAIN = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_CLOSERS = {"{": "}", "[": "]"}
_NOTHING = ("None", "none", "nil")
"""Words that are null beside `null`, as in vLLM's gemma4 tool parser."""


class GemmaCall(StepReader):
    """Translates the arguments to JSON text as they come.

    Strings are written between `<|"|>`, without escapes; keys are bare, or strings. A bare value
    that is not JSON is a string. Strings and keys in JSON's quotes are read as well.
    """

    def __init__(self, tail: Tail, opener: str, schemas: Schemas | None) -> None:
        super().__init__(opener, schemas, tail)
        self._quote = Markers([QUOTE])
        self._closers: list[str] = []
        """The closing brackets to come, innermost last."""
        self._first = True
        """Whether the innermost brackets are empty so far."""

    def finish(self) -> None:
        """Add the available part of the present value."""
        if self._step == self._read_string:
            self.arguments += escaped(self.rest)
        elif self._step == self._read_value and not QUOTE.startswith(self.rest):
            self.arguments += _bare_value(self.rest)

    def _open(self) -> bool:
        found = _HEADER.whole.match(self.rest)
        if found is None:
            return False if _HEADER.begun.fullmatch(self.rest) else self._break()
        self.name = found["name"]
        self.rest = self.rest[found.end() :]
        self._step = self._read_value
        return True

    def _descend(self, opener: str) -> bool:
        self.rest = self.rest[1:]
        self.arguments += opener
        self._closers.append(_CLOSERS[opener])
        self._first = True
        self._step = self._read_item
        return True

    def _ascend(self) -> bool:
        self.rest = self.rest[1:]
        self.arguments += self._closers.pop()
        return self._after_value()

    def _after_value(self) -> bool:
        self._first = False
        self._step = self._read_comma
        if not self._closers:
            self.state = "complete"
        return True

    def _read_comma(self) -> bool:
        first = self._skip_space()
        if first == ",":
            self.rest = self.rest[1:]
            self._step = self._read_item
            return True
        if first == self._closers[-1]:
            return self._ascend()
        return self._break() if first else False

    def _read_item(self) -> bool:
        """Read a key or an element; a trailing comma is allowed."""
        first = self._skip_space()
        if not first:
            return False
        if first == self._closers[-1]:
            return self._ascend()
        self._step = self._read_key if self._closers[-1] == "}" else self._read_element
        return True

    def _read_element(self) -> bool:
        self._separate()
        self._step = self._read_value
        return True

    def _separate(self) -> None:
        if not self._first:
            self.arguments += ", "

    def _read_key(self) -> bool:
        quoted = self.rest.startswith(QUOTE)
        if quoted:
            end = self.rest.find(QUOTE, len(QUOTE))
            if end < 0:
                return False
            key, self.rest = self.rest[len(QUOTE) : end], self.rest[end + len(QUOTE) :]
        elif QUOTE.startswith(self.rest):
            return False
        else:
            match = _KEY.match(self.rest)
            if match is None:
                return self._break()
            if match.end() == len(self.rest):
                return False
            if self.rest[match.end()] != ":":
                return self._break()
            key, self.rest = _bare_key(match[0]), self.rest[match.end() :]
        self._separate()
        self.arguments += encoded(key)
        self._step = self._read_colon
        return True

    def _read_colon(self) -> bool:
        first = self._skip_space()
        if first != ":":
            return self._break() if first else False
        self.rest = self.rest[1:]
        self.arguments += ": "
        self._step = self._read_value
        return True

    def _read_value(self) -> bool:
        first = self._skip_space()
        if first in _CLOSERS:
            return self._descend(first)
        if first == '"':
            self._value = JsonValue()
            self._step = self._read_json_string
            return True
        tag = self._tag(QUOTE)
        if tag == QUOTE:
            self.arguments += '"'
            self._step = self._read_string
        return self._read_bare() if tag is None else bool(tag)

    def _read_bare(self) -> bool:
        match = _BARE.match(self.rest)
        end = match.end() if match else 0
        if not end:
            return self._break()
        if end == len(self.rest):
            return False
        self.arguments += _bare_value(self.rest[:end])
        self.rest = self.rest[end:]
        return self._after_value()

    def _read_string(self) -> bool:
        at, tag = self._quote.find(self.rest)
        self.arguments += escaped(self.rest[:at])
        self.rest = self.rest[at:]
        if tag is None:
            return False
        self.rest = self.rest[len(tag) :]
        self.arguments += '"'
        return self._after_value()

    def _read_json_string(self) -> bool:
        self.arguments += self._advance()
        if self._value.state == "complete":
            return self._after_value()
        return False


def _bare_key(text: str) -> str:
    text = text.strip()
    try:
        return msgspec.json.decode(text, type=str)
    except msgspec.DecodeError:
        return text


def _bare_value(text: str) -> str:
    text = text.strip()
    if text in _NOTHING:
        return "null"
    return text if _PLAIN.fullmatch(text) else encoded(text)
