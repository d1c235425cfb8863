"""Extracts tool calls from content while the model writes them.

A call is emitted as soon as its function's name is certain. Its arguments follow piece by piece as
JSON text: as the model wrote it if the format is JSON, else built value by value.

- Whitespace before a call's tag, and after a call, is dropped; other text is content.
- Text behind a tag that cannot be a call is content, the tag included. So is a call that the end
  of the output cuts before its name is certain. If `max_tokens` cut it, and only a call of a listed
  function can follow the tag, it is dropped: it is markup that no client wants.
- A call that is malformed behind its name cannot be taken back: the arguments so far stay,
  `truncated` is true, and the text from the fault on is content. A call that the end of the output
  cuts is the same, without such text.
- A call is complete when its arguments are. The closing tag may be missing: it may be a token that
  ends the generation.
- If a tag may be ordinary text, or the format needs none, only functions in the request are called;
  without a list of functions, any.
"""

from collections.abc import Callable
from typing import TypeAlias

from pilotlight.output.events import ContentDelta, ToolCallArguments, ToolCallStart
from pilotlight.output.text import Markers
from pilotlight.output.tool_calls.formats.table import FORMATS
from pilotlight.output.tool_calls.readers.call_reader import END, SPACE, CallReader, Schemas

ToolEvent: TypeAlias = ContentDelta | ToolCallStart | ToolCallArguments


class ToolCallParser:
    """Extracts calls in the format *name* from content; *new_id* returns each call's id.

    *schemas* are the parameter schemas of the functions in the request, if known: they distinguish
    a string from a number where the format does not, and a call from text that looks like one.
    Raises `KeyError` for an unknown format.
    """

    def __init__(
        self, name: str, new_id: Callable[[], str], schemas: Schemas | None = None
    ) -> None:
        self._format = FORMATS[name]
        self._openers = Markers(self._format.openers)
        self._new_id = new_id
        self._schemas = schemas
        self._started = self._format.start is None
        """Whether anything but whitespace came."""
        self._calls = 0
        """Calls emitted so far; the present one has the index before it."""
        self._call: CallReader | None = None
        self._emitted = False
        self._opener = ""
        """The tag that opened the present call."""
        self._raw = ""
        """The text of the present call behind its opener, until the call is emitted."""
        self._tail = END
        """What may follow the last call."""
        self._held = ""
        """Text that may become a tag."""
        self._space = ""
        """Whitespace that is dropped if a call follows, and kept if text does."""
        self._skip = False
        """Whether nothing but whitespace came since the last call."""
        self._truncated = False
        self._events: list[ToolEvent] = []

    @property
    def truncated(self) -> bool:
        """Whether a call was emitted whose arguments are incomplete."""
        return self._truncated

    @property
    def in_call(self) -> bool:
        """Whether the next text belongs to a call that was emitted."""
        return self._call is not None and self._emitted

    @property
    def pending(self) -> bool:
        """Whether text is held back that may become content."""
        return bool(self._held or self._space or (self._call and not self._emitted))

    def feed(self, text: str) -> list[ToolEvent]:
        """Return the events that *text* completes; neighbouring content is one delta."""
        self._scan(text, final=False)
        return self._take()

    def flush(self, *, cut: bool = False) -> list[ToolEvent]:
        """Return the text held back, as content or as arguments of a call that was cut.

        *cut* says that `max_tokens` ended the output.
        """
        self._scan("", final=True)
        # The text of a call that is given up is scanned again, and may open another call.
        while self._call is not None:
            call = self._call
            call.finish()
            if self._emitted and call.name is not None:
                self._emit_call(call, call.name)
            if call.state != "reading":
                rest = self._finish(call)
            elif cut and self._is_markup:
                rest, self._call, self._space = "", None, ""
            else:
                rest = self._give_up(call)
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
            elif self._tail is not END:
                rest = self._follow(rest, final=final)
            elif not self._started:
                rest = self._begin(rest, final=final)
            else:
                rest = self._content(rest, final=final)

    def _begin(self, text: str, *, final: bool) -> str:
        """Check whether the output begins with a call, whitespace aside."""
        body = text.lstrip(SPACE)
        self._space += text[: len(text) - len(body)]
        start = self._format.start or ""
        if not body:
            return ""
        if body.startswith(start):
            return self._open(start, body)
        if start.startswith(body) and not final:
            self._held = body
            return ""
        self._started = True
        return body

    def _content(self, text: str, *, final: bool) -> str:
        at, tag = self._openers.find(text)
        if tag is None:
            at = len(text) if final else at
            self._held = text[at:]
        self._text(text[:at])
        return "" if tag is None else self._open(tag, text[at:])

    def _open(self, opener: str, text: str) -> str:
        """Begin the call that *text* opens; return the text behind its opener."""
        self._started = True
        self._call = self._format.reader(opener, self._schemas)
        self._opener, self._raw, self._emitted = opener, "", False
        return text[len(opener) :]

    def _read(self, call: CallReader, text: str) -> str:
        """Feed *text* to the present call; return the text that is not part of it."""
        call.feed(text)
        self._raw = "" if self._emitted else self._raw + text
        if call.name is not None:
            self._emit_call(call, call.name)
        return "" if call.state == "reading" else self._finish(call)

    def _finish(self, call: CallReader) -> str:
        """Finish a call that was read; return the text behind it."""
        if call.state == "broken":
            return self._give_up(call)
        self._call = None
        if call.state == "complete":
            self._tail = call.tail
        return call.rest

    def _emit_call(self, call: CallReader, name: str) -> None:
        if not self._emitted:
            self._emitted = self._skip = True
            self._space = self._raw = ""
            self._events.append(ToolCallStart(self._calls, self._new_id(), name))
            self._calls += 1
        if call.arguments:
            self._events.append(ToolCallArguments(self._calls - 1, call.arguments))
            call.arguments = ""

    @property
    def _is_markup(self) -> bool:
        """Whether the present call has no name yet, and its tag can begin nothing but a call."""
        listed = self._schemas is not None
        return listed and not self._emitted and self._opener in self._format.markers

    def _give_up(self, call: CallReader) -> str:
        """Give up the present call; return the text to scan again."""
        self._call = None
        if self._emitted:
            self._truncated = True
            return call.rest if call.state == "broken" else ""
        self._text(self._opener)
        return self._raw

    def _follow(self, text: str, *, final: bool) -> str:
        """Drop what may follow the last call, or begin another call at a separator."""
        text, tail = text.lstrip(SPACE), self._tail
        for word in (*tail.closers, *tail.separators):
            if text.startswith(word):
                self._tail = tail.closers.get(word, END)
                return text[len(word) :] if word in tail.closers else self._open(word, text)
            if word.startswith(text) and not final:
                self._held = text
                return ""
        self._tail = END
        return text

    def _text(self, text: str) -> None:
        if self._skip:
            text = text.lstrip(SPACE)
            self._skip = not text
        text = self._space + text
        body = text.rstrip(SPACE)
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
