"""Tool calls are taken out of the content as the model writes them.

Each format is one row of a table: the tags, and what reads the text between them. A call is
announced as soon as its function's name is known, and its arguments are passed on as they come.

- Whitespace before a call's tag, and after a call, is dropped; other text is content.
- What is no call is content, tags and all: text between the tags that cannot be one, or that the
  end cuts short before the name is known.
- A call that breaks after it was announced cannot be taken back: the arguments stand as far as
  they came, `truncated` says so, and the text from the fault on is content. One that the end cuts
  short is the same, without that text.
- A call is complete where its JSON object ends; the closing tag may be missing, as it is where it
  would have been the answer's last token.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, Protocol, TypeAlias

import msgspec
from msgspec import Struct

from pilotlight.output.events import ContentDelta, ToolCallArguments, ToolCallStart
from pilotlight.output.json_value import JsonValue
from pilotlight.output.markers import Markers

_SPACE = " \t\r\n"

ToolEvent: TypeAlias = ContentDelta | ToolCallStart | ToolCallArguments


class CallReader(Protocol):
    """Reads one call; each call has a new one."""

    state: Literal["reading", "complete", "broken"]
    name: str | None
    """The function's name, once it is known."""
    arguments: str
    """JSON text of the arguments that was read and that nobody took yet."""
    rest: str
    """What is not understood yet; at the end, what does not belong to the call."""

    def feed(self, text: str) -> None:
        """Read on; only while `reading`. `complete` implies a name."""


class Format(Struct, frozen=True):
    """One way to write calls. *mentions* and *lacks* tell its chat templates from others."""

    name: str
    mentions: tuple[str, ...]
    lacks: tuple[str, ...]
    opener: str
    closer: str
    reader: Callable[[], CallReader]


class _JsonCall:
    """A call that is one JSON object, with its name and its arguments as members in any order.

    Other members are read and dropped, and so is a second one of the same name. Arguments may be
    any JSON value; where there are none they are `{}`. A comma may stand before the end.
    """

    def __init__(self, name_key: str = "name", arguments_key: str = "arguments") -> None:
        self.state: Literal["reading", "complete", "broken"] = "reading"
        self.name: str | None = None
        self.arguments = ""
        self.rest = ""
        self._name_key = name_key
        self._arguments_key = arguments_key
        self._arguments_seen = False
        self._key: str | None = None
        self._value = JsonValue()
        self._value_text = ""
        self._step: Callable[[], None] = self._open

    def feed(self, text: str) -> None:
        self.rest += text
        while self.rest and self.state == "reading":
            self._step()

    def _next(self, *wanted: str) -> str:
        """Take the next character other than whitespace; "" where none is there yet."""
        self.rest = self.rest.lstrip(_SPACE)
        first = self.rest[:1]
        if first in wanted:
            self.rest = self.rest[1:]
        elif first:
            self.state = "broken"
        return first

    def _open(self) -> None:
        if self._next("{"):
            self._step = self._member

    def _member(self) -> None:
        first = self._next('"', "}")
        if first == "}":
            self._end()
        elif first == '"':
            self._key = None
            self.rest = first + self.rest
            self._begin(self._read_key)

    def _end(self) -> None:
        self.state = "broken" if self.name is None else "complete"
        if not self._arguments_seen:
            self.arguments = "{}"

    def _begin(self, step: Callable[[], None]) -> None:
        self._value, self._value_text, self._step = JsonValue(), "", step

    def _advance(self) -> str:
        """Take as much of the value at hand as is there."""
        used = self._value.feed(self.rest)
        taken, self.rest = self.rest[:used], self.rest[used:]
        if self._value.state == "broken":
            self.state = "broken"
        return taken

    def _read_key(self) -> None:
        self._value_text += self._advance()
        if self._value.state == "complete":
            self._key = self._decoded()
            self._step = self._colon

    def _colon(self) -> None:
        if self._next(":") == ":":
            self._step = self._value_start

    def _value_start(self) -> None:
        self.rest = self.rest.lstrip(_SPACE)
        if not self.rest:
            return
        if self._key == self._name_key and self.name is None:
            self._begin(self._read_name)
        elif self._key == self._arguments_key and not self._arguments_seen:
            self._arguments_seen = True
            self._begin(self._read_arguments)
        else:
            self._begin(self._read_other)

    def _read_name(self) -> None:
        self._value_text += self._advance()
        if self._value.state == "complete":
            self.name = self._decoded() or None
            if self.name is None:
                self.state = "broken"
            self._step = self._comma

    def _read_arguments(self) -> None:
        self.arguments += self._advance()
        if self._value.state == "complete":
            self._step = self._comma

    def _read_other(self) -> None:
        self._advance()
        if self._value.state == "complete":
            self._step = self._comma

    def _comma(self) -> None:
        first = self._next(",", "}")
        if first == "}":
            self._end()
        elif first == ",":
            self._step = self._member

    def _decoded(self) -> str:
        """Decode the string that was read; one that is none is given back, and breaks the call."""
        try:
            return msgspec.json.decode(self._value_text, type=str)
        except msgspec.DecodeError:
            self.state = "broken"
            self.rest = self._value_text + self.rest
            return ""


_ROWS = (
    Format(
        name="hermes",
        mentions=("<tool_call>",),
        # Qwen3-Coder and GLM put XML between the same tags.
        lacks=("<function=", "<arg_key>"),
        opener="<tool_call>",
        closer="</tool_call>",
        reader=_JsonCall,
    ),
)

FORMATS: Mapping[str, Format] = MappingProxyType({row.name: row for row in _ROWS})
"""Every format by its name, in the order in which `detect` tries them."""


def detect(chat_template: str) -> str | None:
    """Return the name of the format that a model with this template writes, if one is seen."""
    for name, row in FORMATS.items():
        if all(word in chat_template for word in row.mentions) and not any(
            word in chat_template for word in row.lacks
        ):
            return name
    return None


class ToolCallParser:
    """Takes the calls in the format *name* out of content; *new_id* gives each call its id.

    `KeyError` for an unknown format.
    """

    def __init__(self, name: str, new_id: Callable[[], str]) -> None:
        self._format = FORMATS[name]
        self._opener = Markers([self._format.opener])
        self._new_id = new_id
        self._calls = 0
        """Announced so far; the one at hand has the index before it."""
        self._call: CallReader | None = None
        self._announced = False
        self._raw = ""
        """The call at hand as it was written, until it is announced."""
        self._closing = False
        """The closing tag may follow."""
        self._held = ""
        """May become a tag."""
        self._space = ""
        """Whitespace that goes if a call follows, and stays if text does."""
        self._skip = False
        """Nothing but whitespace since the last call."""
        self._truncated = False
        self._events: list[ToolEvent] = []

    @property
    def truncated(self) -> bool:
        """Whether a call was announced whose arguments never were complete."""
        return self._truncated

    @property
    def pending(self) -> bool:
        """Whether text is held back that may become content."""
        return bool(self._held or self._space or self._raw)

    def feed(self, text: str) -> list[ToolEvent]:
        """Return what *text* settles; neighbouring content is one delta."""
        self._scan(text, final=False)
        return self._take()

    def flush(self) -> list[ToolEvent]:
        """Return what was held back, as content."""
        self._scan("", final=True)
        while self._call is not None:
            rest = self._no_call()
            self._scan(rest, final=True)
        if self._space:
            self._emit_content(self._space)
            self._space = ""
        return self._take()

    def _scan(self, text: str, *, final: bool) -> None:
        rest, self._held = self._held + text, ""
        while rest:
            if self._call is not None:
                rest = self._read(self._call, rest)
            elif self._closing:
                rest = self._close(rest, final=final)
            else:
                rest = self._content(rest, final=final)

    def _content(self, text: str, *, final: bool) -> str:
        at, tag = self._opener.find(text)
        if tag is None:
            at = len(text) if final else at
            self._held = text[at:]
        self._text(text[:at])
        if tag is None:
            return ""
        self._call, self._raw, self._announced = self._format.reader(), tag, False
        return text[at + len(tag) :]

    def _read(self, call: CallReader, text: str) -> str:
        """Let the call at hand read *text*; return what is not the call's."""
        call.feed(text)
        self._raw = "" if self._announced else self._raw + text
        if call.name is not None:
            self._report(call, call.name)
        if call.state == "reading":
            return ""
        if call.state == "broken":
            return self._no_call()
        self._call = None
        self._closing = True
        return call.rest

    def _report(self, call: CallReader, name: str) -> None:
        if not self._announced:
            self._announced = self._skip = True
            self._space = self._raw = ""
            self._events.append(ToolCallStart(self._calls, self._new_id(), name))
            self._calls += 1
        if call.arguments:
            self._events.append(ToolCallArguments(self._calls - 1, call.arguments))
            call.arguments = ""

    def _no_call(self) -> str:
        """Give up the call at hand; return the text to look at again."""
        call, self._call = self._call, None
        if self._announced:
            self._truncated = True
            return call.rest if call is not None and call.state == "broken" else ""
        self._text(self._format.opener)
        return self._raw[len(self._format.opener) :]

    def _close(self, text: str, *, final: bool) -> str:
        text, closer = text.lstrip(_SPACE), self._format.closer
        if not text:
            return ""
        if not final and len(text) < len(closer) and closer.startswith(text):
            self._held = text
            return ""
        self._closing = False
        return text.removeprefix(closer)

    def _text(self, text: str) -> None:
        if self._skip:
            text = text.lstrip(_SPACE)
            self._skip = not text
        text = self._space + text
        body = text.rstrip(_SPACE)
        self._space = text[len(body) :]
        if body:
            self._emit_content(body)

    def _emit_content(self, text: str) -> None:
        last = self._events[-1] if self._events else None
        if isinstance(last, ContentDelta):
            self._events[-1] = ContentDelta(last.text + text)
        else:
            self._events.append(ContentDelta(text))

    def _take(self) -> list[ToolEvent]:
        events, self._events = self._events, []
        return events
