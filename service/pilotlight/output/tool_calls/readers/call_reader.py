"""What reads one call, from behind the tag that opens it to its last character."""

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
    """Dropped; each leads to what may follow it in turn."""
    separators: tuple[str, ...] = ()
    """Each begins another call."""


END = Tail()


class CallReader(Protocol):
    """Reads one call; each call has a new one."""

    state: Literal["reading", "complete", "broken", "passed"]
    """`passed`: no call, and what was read so far is a wrapper of content, to be dropped."""
    name: str | None
    """The function's name, once it is known that this is a call of it."""
    arguments: str
    """JSON text of the arguments that was read and that nobody took yet."""
    rest: str
    """What is not understood yet; at the end, what does not belong to the call."""
    tail: Tail
    """What may follow the complete call."""

    def feed(self, text: str) -> None:
        """Read on; only while `reading`. `complete` implies a name."""

    def finish(self) -> None:
        """Give out as arguments what is held back of them, as no text follows; the call may end."""


ReaderFactory: TypeAlias = Callable[[str, Schemas | None], CallReader]
"""Makes the reader of a call that this tag opened, with the schemas of the request, if known."""


class StepReader:
    """Reads in steps; a step returns whether it came further, and False to wait for more text.

    Before a step waits, it has looked at everything in `rest`, so that where the text was cut
    does not matter.
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
        """Take steps as far as *text* lets it."""
        self.rest += text
        while self.rest and self.state == "reading" and self._step():
            pass

    def finish(self) -> None:
        """Nothing is held back here."""

    def _open(self) -> bool:
        raise NotImplementedError

    def _break(self) -> bool:
        self.state = "broken"
        return False

    def _skip_space(self) -> str:
        """Drop whitespace; return the next character, "" where none is there yet."""
        self.rest = self.rest.lstrip(SPACE)
        return self.rest[:1]

    def _tag(self, *tags: str) -> str | None:
        """Take the tag that is next; "" to wait for more of it, None where it is none of *tags*."""
        for tag in tags:
            if self.rest.startswith(tag):
                self.rest = self.rest[len(tag) :]
                return tag
        return "" if any(tag.startswith(self.rest) for tag in tags) else None

    def _advance(self) -> str:
        """Take as much of the JSON value at hand as is there."""
        used = self._value.feed(self.rest)
        taken, self.rest = self.rest[:used], self.rest[used:]
        if self._value.state == "broken":
            self.state = "broken"
        return taken

    def _unknown(self, name: str) -> bool:
        """Whether the request is known to list no function of this name."""
        return self._schemas is not None and name not in self._schemas


def encoded(value: Any) -> str:
    """Return *value* as JSON text."""
    return msgspec.json.encode(value).decode()


def escaped(text: str) -> str:
    """Return *text* as it stands between the quotes of a JSON string."""
    return encoded(text)[1:-1]
