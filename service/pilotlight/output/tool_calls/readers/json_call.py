"""Reads calls that are JSON objects with a name and arguments, alone or in a list."""

from typing import Literal

import msgspec
from msgspec import Struct

from pilotlight.output.json_value import JsonValue
from pilotlight.output.tool_calls.readers.call_reader import (
    END,
    Schemas,
    StepReader,
    Tail,
)


class JsonShape(Struct, frozen=True):
    """How a format writes its objects."""

    name_key: str = "name"
    arguments_keys: tuple[str, ...] = ("arguments",)
    before_json: str = ""
    """Text between the opener and the JSON, whitespace aside."""
    listed: Literal["never", "maybe", "always"] = "never"
    """Whether the objects behind an opener are in a list."""
    closers: Tail = END
    """What may follow the object or the list."""
    separators: tuple[str, ...] = ()
    """Separators between objects that are not in a list."""
    bare: tuple[str, ...] = ()
    """Openers that are not tags, so text may begin with them too; see `JsonCall`."""
    bare_keys: tuple[str, ...] = ()
    """Members of a bare object that are allowed beside the name and the arguments."""

    def reader(self, opener: str, schemas: Schemas | None) -> "JsonCall":
        """Return a reader of one call."""
        return JsonCall(self, opener, schemas)


class JsonCall(StepReader):
    """Reads a call that is one JSON object, with name and arguments as members in any order.

    Other members are dropped, and so is a second one of the same name. Arguments may be any JSON
    value and default to `{}`. A trailing comma is allowed.

    A bare object, which no tag opened, could be any JSON: it is a call if it has the name of a
    function in the request, an object of arguments, and no other members than `bare_keys`.
    """

    def __init__(self, shape: JsonShape, opener: str, schemas: Schemas | None) -> None:
        super().__init__(opener, schemas, Tail(shape.closers.closers, shape.separators))
        self._shape = shape
        self._bare = opener in shape.bare
        self._found: str | None = None
        self._arguments_seen = False
        self._key = ""
        self._value_text = ""

    def _open(self) -> bool:
        if self._opener == "{":
            self._step = self._member
        elif self._opener == ",":
            self.tail = self._list_tail()
            self._step = self._object
        else:
            self._step = self._read_before_json
        return True

    def _list_tail(self) -> Tail:
        return Tail({"]": self._shape.closers}, (",",))

    def _read_before_json(self) -> bool:
        self._skip_space()
        tag = self._tag(self._shape.before_json)
        if tag is None:
            return self._break()
        if tag != self._shape.before_json:
            return False
        self._step = self._list
        return True

    def _list(self) -> bool:
        first = self._skip_space()
        if not first:
            return False
        if first == "[" and self._shape.listed != "never":
            self.rest = self.rest[1:]
            self.tail = self._list_tail()
        elif self._shape.listed == "always":
            return self._break()
        self._step = self._object
        return True

    def _next(self, *wanted: str) -> str:
        """Take the next character other than whitespace; "" if there is none yet."""
        first = self._skip_space()
        if first in wanted:
            self.rest = self.rest[1:]
        elif first:
            self.state = "broken"
        return first

    def _object(self) -> bool:
        if self._next("{") == "{":
            self._step = self._member
        return self.state == "reading"

    def _member(self) -> bool:
        first = self._next('"', "}")
        if first == "}":
            self._end()
        elif first == '"':
            self._key = ""
            self.rest = first + self.rest
            self._begin()
            self._step = self._read_key
        return self.state == "reading"

    def _end(self) -> None:
        if self._found is None or (self._bare and not self._arguments_seen):
            self.state = "broken"
            return
        self.state = "complete"
        self.name = self._found
        if not self._arguments_seen:
            self.arguments = "{}"

    def _begin(self) -> None:
        self._value, self._value_text = JsonValue(), ""

    def _read_key(self) -> bool:
        self._value_text += self._advance()
        if self._value.state == "complete":
            self._key = self._decoded()
            if self._bare and self._foreign(self._key):
                return self._break()
            self._step = self._colon
        return self.state == "reading"

    def _foreign(self, key: str) -> bool:
        shape = self._shape
        return key not in {shape.name_key, *shape.arguments_keys, *shape.bare_keys}

    def _colon(self) -> bool:
        if self._next(":") == ":":
            self._step = self._value_start
        return self.state == "reading"

    def _value_start(self) -> bool:
        first = self._skip_space()
        if not first:
            return False
        self._begin()
        if self._key == self._shape.name_key and self._found is None:
            self._step = self._read_name
        elif self._key in self._shape.arguments_keys and not self._arguments_seen:
            if self._bare and first != "{":
                return self._break()
            self._arguments_seen = True
            self.name = self._found
            self._step = self._read_arguments
        else:
            self._step = self._read_other
        return True

    def _read_name(self) -> bool:
        self._value_text += self._advance()
        if self._value.state == "complete":
            self._found = self._decoded() or None
            if self._found is None or (self._bare and self._unknown(self._found)):
                return self._break()
            if not self._bare or self._arguments_seen:
                self.name = self._found
            self._step = self._comma
        return self.state == "reading"

    def _read_arguments(self) -> bool:
        self.arguments += self._advance()
        if self._value.state == "complete":
            self._step = self._comma
        return self.state == "reading"

    def _read_other(self) -> bool:
        self._advance()
        if self._value.state == "complete":
            self._step = self._comma
        return self.state == "reading"

    def _comma(self) -> bool:
        first = self._next(",", "}")
        if first == "}":
            self._end()
        elif first == ",":
            self._step = self._member
        return self.state == "reading"

    def _decoded(self) -> str:
        """Decode the string that was read; any other value breaks the call."""
        try:
            return msgspec.json.decode(self._value_text, type=str)
        except msgspec.DecodeError:
            self.state = "broken"
            self.rest = self._value_text + self.rest
            return ""


def closed_by(*tags: str) -> Tail:
    """Return the tail of a call that one of *tags* may close."""
    return Tail(dict.fromkeys(tags, END))
