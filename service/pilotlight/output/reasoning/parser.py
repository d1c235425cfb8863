"""Separates reasoning from content by the markers that models write around it.

- Markers are dropped, with the whitespace (space, tab, CR, LF) that models put around them: after
  any marker, before one that ends reasoning, and before one that begins the content. Whitespace
  inside reasoning is therefore held back until text follows it. Whitespace that content ends
  with before a later marker is content.
- Where a format opens reasoning with a tag of its own (`<think>`), only a tag at the start of the
  output opens it: once content began, the tag is text. Channels switch anywhere.
- A closing tag without an opening tag is text. A stream cannot take back what it sent as content,
  so the parser must know whether the prompt opened the reasoning: see `opened`.
- A marker that the end of the output cuts short is text. Reasoning that never ends stays reasoning.
- Deltas of two blocks of reasoning, or of two pieces of content, follow each other with nothing
  between.
"""

from typing import TypeAlias

from pilotlight.output.events import ContentDelta, ReasoningDelta
from pilotlight.output.reasoning.formats import FORMATS, SPACE
from pilotlight.output.text import TextDecoder

Delta: TypeAlias = ReasoningDelta | ContentDelta


class ReasoningParser:
    """Separates reasoning from content in the format *name*.

    *opened* says that the prompt opened the reasoning. Raises `KeyError` for an unknown format.
    """

    def __init__(self, name: str, *, opened: bool) -> None:
        self._states = FORMATS[name].states
        self._state = self._states["opened" if opened else "start"]
        self._held = ""
        """Text that may become a marker."""
        self._space = ""
        """Whitespace that is dropped if a marker follows, and kept if text does."""
        self._skip = opened
        """Whether nothing but whitespace came since the last marker."""
        self._deltas: list[Delta] = []

    @property
    def pending(self) -> bool:
        """Whether text is held back."""
        return bool(self._held or self._space)

    @property
    def in_reasoning(self) -> bool:
        """Whether text is reasoning here, and no marker has begun that may end it."""
        return self._state.kind is ReasoningDelta and not self._held

    def feed(self, text: str) -> list[Delta]:
        """Return the deltas that *text* completes; neighbours of one kind are one delta."""
        self._scan(text, final=False)
        return self._take()

    def flush(self) -> list[Delta]:
        """Return the text held back, as a delta of the present kind."""
        self._scan("", final=True)
        if self._space:
            self._emit(self._space)
            self._space = ""
        return self._take()

    def _scan(self, text: str, *, final: bool) -> None:
        rest = self._held + text
        while rest:
            if self._state.then is not None:
                rest = self._strip_leading(rest)
            at, marker = self._state.markers.find(rest)
            if marker is not None and not at:
                used = self._follow(rest, marker, final=final)
                if used is None:
                    break
                rest = rest[used:]
            elif not at and not final:
                break
            elif self._state.then is not None and rest:
                # Change the state only: the same text may begin a marker of the next state.
                self._state = self._states[self._state.then]
            else:
                self._text(rest[: at or len(rest)])
                rest = rest[at or len(rest) :]
        self._held = rest

    def _strip_leading(self, text: str) -> str:
        """Return *text* without leading whitespace, which is kept in case text follows."""
        body = text.lstrip(SPACE)
        if not self._skip:
            self._space += text[: len(text) - len(body)]
        return body

    def _follow(self, text: str, marker: str, *, final: bool) -> int | None:
        """Enter the state that the marker at the start of *text* leads to.

        Returns the marker's length, or None to wait for more of it.
        """
        old, target = self._state, self._state.targets[marker]
        if isinstance(target, str):
            if old.verbatim:
                self._emit(marker)
            self._enter(target)
            return len(marker)
        header = target(text, final=final)
        if header is None:
            return None
        length, name = header
        if not length:
            return self._literal(marker)
        self._enter(name)
        if self._state.verbatim:
            self._emit(text[:length])
        return length

    def _enter(self, name: str) -> None:
        self._state = self._states[name]
        self._space = ""
        self._skip = not self._state.verbatim

    def _literal(self, marker: str) -> int:
        """Treat *marker* as text; return how many characters are consumed."""
        if self._state.then is not None:
            self._state = self._states[self._state.then]
            return 0
        self._text(marker)
        return len(marker)

    def _text(self, text: str) -> None:
        if self._skip:
            text = text.lstrip(SPACE)
            self._skip = not text
        text, self._space = self._space + text, ""
        if self._state.kind is ReasoningDelta:
            body = text.rstrip(SPACE)
            text, self._space = body, text[len(body) :]
        if text:
            self._emit(text)

    def _emit(self, text: str) -> None:
        kind = self._state.kind
        if self._deltas and type(self._deltas[-1]) is kind:
            text = self._deltas.pop().text + text
        self._deltas.append(kind(text))

    def _take(self) -> list[Delta]:
        deltas, self._deltas = self._deltas, []
        return deltas


class ReasoningTracker:
    """Follows an output in the reasoning format *name*; None means that the model does not reason.

    *opened* says that the prompt opened the reasoning.
    """

    def __init__(self, name: str | None, *, opened: bool) -> None:
        self._text = TextDecoder()
        self._parser = None if name is None else ReasoningParser(name, opened=opened)

    def feed(self, piece: bytes) -> None:
        """Take a token's bytes."""
        if self._parser is not None and (text := self._text.feed(piece)):
            self._parser.feed(text)

    @property
    def in_reasoning(self) -> bool:
        """Whether the output is within reasoning, and no marker has begun that may end it."""
        return self._parser is not None and self._parser.in_reasoning
