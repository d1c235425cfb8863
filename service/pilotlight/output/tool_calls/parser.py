"""Tool calls are taken out of the content as the model writes them.

A call is announced as soon as it is known to be one and its function's name is known; its
arguments are passed on as they come, as JSON text: as the model wrote it where the format is
JSON, and built value by value where it is not.

- Whitespace before a call's tag, and after a call, is dropped; other text is content.
- What is no call is content, tags and all: text behind a tag that cannot be one, or that the
  end cuts short before the name is known. Where the length cuts it, and nothing but a call of a
  listed function can follow the tag, it is dropped: it is markup, and no client wants it.
- A call that breaks after it was announced cannot be taken back: the arguments stand as far as
  they came, `truncated` says so, and the text from the fault on is content. One that the end cuts
  short is the same, without that text.
- A call is complete where its arguments are; the closing tag may be missing, as it is where it
  would have been the answer's last token.
- Where a tag is ordinary text, or none is needed, only functions that the request lists are
  called; without the list, any.
"""

from collections.abc import Callable
from typing import TypeAlias

from pilotlight.output.events import ContentDelta, ToolCallArguments, ToolCallStart
from pilotlight.output.text import Markers
from pilotlight.output.tool_calls.formats.table import FORMATS
from pilotlight.output.tool_calls.readers.call_reader import END, SPACE, CallReader, Schemas

ToolEvent: TypeAlias = ContentDelta | ToolCallStart | ToolCallArguments


class ToolCallParser:
    """Takes the calls in the format *name* out of content; *new_id* gives each call its id.

    *schemas* are those of the functions that the request lists, if the caller has them: they
    tell a string from a number where the format does not, and calls from text that looks like
    one. `KeyError` for an unknown format.
    """

    def __init__(
        self, name: str, new_id: Callable[[], str], schemas: Schemas | None = None
    ) -> None:
        self._format = FORMATS[name]
        self._openers = Markers(self._format.openers)
        self._new_id = new_id
        self._schemas = schemas
        self._started = self._format.start is None
        """Something other than whitespace was said."""
        self._calls = 0
        """Announced so far; the one at hand has the index before it."""
        self._call: CallReader | None = None
        self._announced = False
        self._opener = ""
        """What opened the call at hand."""
        self._raw = ""
        """The call at hand as it was written behind its opener, until it is announced."""
        self._tail = END
        """What may follow the last call."""
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
        return bool(self._held or self._space or (self._call and not self._announced))

    def feed(self, text: str) -> list[ToolEvent]:
        """Return what *text* settles; neighbouring content is one delta."""
        self._scan(text, final=False)
        return self._take()

    def flush(self, *, cut: bool = False) -> list[ToolEvent]:
        """Return what was held back, as content, or as arguments of a call that was cut short.

        *cut* says that the answer's length ended it, and not the model.
        """
        self._scan("", final=True)
        while self._call is not None:
            call = self._call
            call.finish()
            if self._announced and call.name is not None:
                self._report(call, call.name)
            if call.state != "reading":
                rest = self._settle(call)
            elif cut and self._is_markup:
                rest, self._call, self._space = "", None, ""
            else:
                rest = self._no_call(call)
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
        """Look at what the answer begins with, whitespace aside."""
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
        """Begin the call that *text* opens; return what is behind its opener."""
        self._started = True
        self._call = self._format.reader(opener, self._schemas)
        self._opener, self._raw, self._announced = opener, "", False
        return text[len(opener) :]

    def _read(self, call: CallReader, text: str) -> str:
        """Let the call at hand read *text*; return what is not the call's."""
        call.feed(text)
        self._raw = "" if self._announced else self._raw + text
        if call.name is not None:
            self._report(call, call.name)
        return "" if call.state == "reading" else self._settle(call)

    def _settle(self, call: CallReader) -> str:
        """Go on behind a call that is read; return what is there."""
        if call.state == "broken":
            return self._no_call(call)
        self._call = None
        if call.state == "complete":
            self._tail = call.tail
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

    @property
    def _is_markup(self) -> bool:
        """Whether the call at hand has no name yet, and is a call whatever would come."""
        listed = self._schemas is not None
        return listed and not self._announced and self._opener in self._format.markers

    def _no_call(self, call: CallReader) -> str:
        """Give up the call at hand; return the text to look at again."""
        self._call = None
        if self._announced:
            self._truncated = True
            return call.rest if call.state == "broken" else ""
        self._text(self._opener)
        return self._raw

    def _follow(self, text: str, *, final: bool) -> str:
        """Drop what may follow the last call, or begin another where it says that one follows."""
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
