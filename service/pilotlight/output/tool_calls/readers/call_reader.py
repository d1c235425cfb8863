"""The reader of one call, from behind its opening tag to its last character."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

import msgspec
from msgspec import Struct

from pilotlight.output.json_value import JsonValue

SPACE = " \t\r\n"

Schemas: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The JSON Schema of each function's parameters, by the function's name."""


class Tail(Struct, frozen=True):
    """What may follow a call, whitespace aside; anything else is content."""

    closers: Mapping[str, "Tail"] = {}
    """Tags that are dropped; each leads to what may follow it."""
    separators: tuple[str, ...] = ()
    """Texts that begin another call."""


END = Tail()


class CallReader(Protocol):
    """Reads one call. Each call has a new reader."""

    state: Literal["reading", "complete", "broken", "passed"]
    """`passed`: not a call; the text read so far wraps content and is dropped."""
    name: str | None
    """The function's name, once it is certain that this is a call of it."""
    arguments: str
    """JSON text of the arguments that was read and not taken yet."""
    rest: str
    """Text not read yet; at the end, text that is not part of the call."""
    tail: Tail
    """What may follow the complete call."""

    def feed(self, text: str) -> None:
        """Read *text*; only while `reading`. `complete` implies a name."""

    def finish(self) -> None:
        """Add the arguments held back, since no text follows; the call may end."""


ReaderFactory: TypeAlias = Callable[[str, Schemas | None], CallReader]
"""Returns the reader of a call, given the tag that opened it and the request's schemas."""


class StepReader:
    """Reads in steps: a step returns True if it advanced, False to wait for more text.

    Before a step waits, it has read everything in `rest`, so where the text is cut does not matter.
    """

    def __init__(self, opener: str, schemas: Schemas | None, tail: Tail) -> None:
        self.state: Literal["reading", "complete", "broken", "passed"] = "reading"
        self.name: str | None = None
        self.arguments = ""
        self.rest = ""
        self.tail = tail
        self._opener = opener
        self._schemas = schemas
        self._value = JsonValue()
        self._step: Callable[[], bool] = self._open

    def feed(self, text: str) -> None:
        """Take steps as far as *text* allows."""
        self.rest += text
        while self.rest and self.state == "reading" and self._step():
            pass

    def finish(self) -> None:
        """Do nothing: no arguments are held back."""

    def _open(self) -> bool:
        raise NotImplementedError

    def _break(self) -> bool:
        self.state = "broken"
        return False

    def _skip_space(self) -> str:
        """Drop whitespace; return the next character, or "" if there is none yet."""
        self.rest = self.rest.lstrip(SPACE)
        return self.rest[:1]

    def _tag(self, *tags: str) -> str | None:
        """Take the next tag; "" to wait for more of it, None if it is none of *tags*."""
        for tag in tags:
            if self.rest.startswith(tag):
                self.rest = self.rest[len(tag) :]
                return tag
        return "" if any(tag.startswith(self.rest) for tag in tags) else None

    def _advance(self) -> str:
        """Take the available part of the present JSON value."""
        used = self._value.feed(self.rest)
        taken, self.rest = self.rest[:used], self.rest[used:]
        if self._value.state == "broken":
            self.state = "broken"
        return taken

    def _unknown(self, name: str) -> bool:
        """Whether the request has a list of functions without this name."""
        return self._schemas is not None and name not in self._schemas


def encoded(value: Any) -> str:
    """Return *value* as JSON text."""
    return msgspec.json.encode(value).decode()


def escaped(text: str) -> str:
    """Return *text* as written between the quotes of a JSON string."""
    return encoded(text)[1:-1]
