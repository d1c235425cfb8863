"""Reads calls written as tags: the name, then each parameter's key and value."""

import re

from msgspec import Struct

from pilotlight.output.json_value import JsonValue
from pilotlight.output.text import Markers
from pilotlight.output.tool_calls.readers.call_reader import (
    END,
    SPACE,
    Schemas,
    StepReader,
    Tail,
    encoded,
    escaped,
)
from pilotlight.output.tool_calls.schema_types import converted, parameter_types


class Tags(Struct, frozen=True):
    """The tags of a format. An empty one is not part of it."""

    name: str
    name_end: str
    key: str
    key_end: str
    value: str
    value_end: str
    ends: tuple[str, ...]
    """Each ends the call."""
    lines: bool
    """Whether a value is on lines of its own: the line breaks around it are not part of it."""
    tail: Tail = END

    def reader(self, opener: str, schemas: Schemas | None) -> "XmlCall":
        """Return a reader of one call."""
        return XmlCall(self, opener, schemas)


_KEY = re.compile(r"[^<>\n]{1,256}")
_NAME = re.compile(r"[^<>\s]{1,128}")


class XmlCall(StepReader):
    """Builds the JSON text of the arguments from the values.

    A value ends at its first closing tag; if only an object or a list is allowed, at the first tag
    behind that JSON. It is a string, unless it is JSON of a type that the parameter's schema
    allows; without a schema every type is allowed. A value that can only be a string is emitted
    piece by piece.

    If the opener is the format's name tag, it may be ordinary text: the function must be in the
    request.
    """

    def __init__(self, tags: Tags, opener: str, schemas: Schemas | None) -> None:
        super().__init__(opener, schemas, tags.tail)
        self._tags = tags
        self._value_end = Markers([tags.value_end])
        self._found = ""
        self._keys = 0
        self._key = ""
        self._types: frozenset[str] = frozenset()
        self._held: str | None = None
        """The present value, as long as none of it was emitted."""

    def finish(self) -> None:
        """Read incomplete JSON as text; add the present value."""
        while self._step == self._read_json:
            self._reread()
            self.feed("")
        if self._step != self._read_value or self.state != "reading":
            return
        if self._held is None:
            self.arguments += escaped(self.rest)
        else:
            text = self._held + self.rest
            value = converted(text, self._types)
            self.arguments += encoded(text)[:-1] if value is None else value

    def _open(self) -> bool:
        if self._opener == self._tags.name:
            self._step = self._read_name
            return True
        self._skip_space()
        tag = self._tag(self._tags.name)
        if tag is None:
            return self._break()
        if tag != self._tags.name:
            return False
        self._step = self._read_name
        return True

    def _read_name(self) -> bool:
        if not self._skip_space():
            return False
        match = _NAME.match(self.rest)
        if match is None:
            return self._break()
        if match.end() == len(self.rest):
            return False
        self._found = match[0]
        if self._tags.name:
            if not self.rest.startswith(self._tags.name_end, match.end()):
                return self._break()
            if self._opener == self._tags.name and self._unknown(self._found):
                return self._break()
            self.name = self._found
        self.rest = self.rest[match.end() + len(self._tags.name_end) :]
        self._step = self._between
        return True

    def _between(self) -> bool:
        self._skip_space()
        tag = self._tag(self._tags.key, *self._tags.ends)
        if tag is None:
            return self._break()
        if not tag:
            return False
        self.name = self._found
        if tag == self._tags.key:
            self._step = self._read_key
        else:
            self.arguments += "}" if self._keys else "{}"
            self.state = "complete"
        return True

    def _read_key(self) -> bool:
        match = _KEY.match(self.rest)
        if match is None:
            return self._break()
        if match.end() == len(self.rest):
            return False
        end = self.rest[match.end() :]
        if not end.startswith(self._tags.key_end):
            return False if self._tags.key_end.startswith(end) else self._break()
        self._key = match[0].strip()
        self.rest = end[len(self._tags.key_end) :]
        self._step = self._value_start
        return True

    def _value_start(self) -> bool:
        if self._tags.value:
            self._skip_space()
            tag = self._tag(self._tags.value)
            if not tag:
                return False if tag == "" else self._break()
        self._begin_value()
        self._step = self._first_line if self._tags.lines else self._first_char
        return True

    def _begin_value(self) -> None:
        schema = (self._schemas or {}).get(self._found)
        self._types = parameter_types(schema, self._key)
        self.arguments += ", " if self._keys else "{"
        self.arguments += encoded(self._key) + ": "
        self._keys += 1
        self._held = ""
        if self._types == {"string"}:
            self._held = None
            self.arguments += '"'

    def _first_line(self) -> bool:
        self.rest = self.rest.removeprefix("\n")
        self._step = self._first_char
        return True

    def _first_char(self) -> bool:
        first = self.rest.lstrip(SPACE)[:1]
        if "string" in self._types or (first and first not in "[{"):
            self._step = self._read_value
        elif first:
            self._value = JsonValue()
            self._held = self.rest[: self.rest.index(first)]
            self.rest = self.rest[len(self._held) :]
            self._step = self._read_json
        return self._step != self._first_char

    def _read_json(self) -> bool:
        """Follow JSON to its end: a closing tag within its strings does not end the value."""
        used = self._value.feed(self.rest)
        self._held = (self._held or "") + self.rest[:used]
        self.rest = self.rest[used:]
        if self._value.state == "complete":
            self._step = self._read_value
        elif self._value.state == "broken":
            self._reread()
        return self._step != self._read_json

    def _reread(self) -> None:
        self.rest, self._held = (self._held or "") + self.rest, ""
        self._step = self._read_value

    def _read_value(self) -> bool:
        at, tag = self._value_end.find(self.rest)
        if self._tags.lines and self.rest[:at].endswith("\n"):
            at -= 1
        text = self.rest[:at]
        if self._held is None:
            self.arguments += escaped(text)
        else:
            self._held += text
        self.rest = self.rest[at:]
        if tag is None:
            return False
        self.rest = self.rest[self.rest.index(tag) + len(tag) :]
        self._end_value()
        self._step = self._between
        return True

    def _end_value(self) -> None:
        if self._held is None:
            self.arguments += '"'
        else:
            value = converted(self._held, self._types)
            self.arguments += encoded(self._held) if value is None else value
