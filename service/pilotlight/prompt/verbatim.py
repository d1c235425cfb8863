"""Keeps the names of control tokens in a request's texts from becoming those tokens.

A chat template writes its markup and a user's text into one string, and the tokeniser reads names
such as `<|im_end|>` in it as control tokens, whoever wrote them: a user could end the turn and
begin the system's. So what a request says is marked before it is rendered: a character that occurs
nowhere else is put into each name. Behind the rendering the marks show which names are a request's;
they are taken out, and those names are tokenised as the text that they are. Text without names is
not touched, and its tokens are what they were.

A mark inside a name survives what templates do: trimming, splitting, joining, `tojson`, tests for
other texts. Texts that end with the beginning of a name are marked too, for a template may write
another text behind them. So is every beginning in a text from which the template may take
something out: Nemotron's takes `/think` out of a user's text, and `<|im_/thinkend|>` would become a
control token.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

from msgspec import Struct

from pilotlight.prompt.errors import TemplateFailed

Span: TypeAlias = tuple[int, int]

# Noncharacters, which no text should have, then private use.
_MARKS = (range(0xFDD0, 0xFDF0), range(0xF0000, 0xFFFFE))
_HEAD = 2
_ESCAPES = re.compile(r"(?=((\\u[0-9a-f]{4})(?:\\u[0-9a-f]{4})?))")
"""Escapes in JSON, alone and in pairs; Python's encoder writes them in lower case."""


class Verbatim(Struct, frozen=True):
    """A text, and the parts of it in which names of control tokens stay text."""

    text: str
    spans: tuple[Span, ...] = ()


class ControlNames:
    """The names of a model's control tokens. Immutable, so any thread may ask."""

    def __init__(self, names: Iterable[str] = (), removed: Iterable[str] = ()) -> None:
        """Take *names*; one of a single character cannot be marked inside, and is left out.

        *removed* are what the chat template may take out of a text.
        """
        self._names = frozenset(name for name in names if len(name) >= _HEAD)
        lengths: dict[str, set[int]] = {}
        for name in self._names:
            lengths.setdefault(name[:_HEAD], set()).add(len(name))
        # Of names that begin alike a tokeniser looks for the longest first.
        self._lengths = {head: sorted(some, reverse=True) for head, some in lengths.items()}
        self._heads = _any_of(lengths)
        self._longest = max(map(len, self._names), default=0)
        self._beginnings = {name[:end] for name in self._names for end in range(1, len(name))}
        removed = frozenset(removed) - {""}
        self._removed = _any_of(removed)
        # Behind its first character a name goes on, or what is removed begins, or the text ends.
        firsts = _any_of({head[0] for head in lengths}).pattern
        gaps = _any_of({one[0] for one in removed}).pattern
        self._begun = re.compile(rf"(?={self._heads.pattern}|(?:{firsts})(?:{gaps}|\s*\Z))")

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __bool__(self) -> bool:
        return bool(self._names)

    def without(self, names: Iterable[str]) -> "ControlNames":
        """Return the names but for *names*, for texts out of which nothing is taken."""
        return ControlNames(self._names.difference(names))

    def places(self, text: str) -> Iterator[int]:
        """Yield where in *text* a mark belongs: behind the first character of each name."""
        if self._removed.search(text):
            yield from self._begun_names(text)
            return
        at = since = 0
        while found := self._heads.search(text, at):
            at = found.start() + 1
            if name := self.at(text, found.start()):
                yield at
                at = since = found.start() + len(name)
        end = len(text.rstrip())
        for start in range(max(end - self._longest + 1, since), end):
            if text[start:end] in self._beginnings:
                yield start + 1
                return

    def _begun_names(self, text: str) -> Iterator[int]:
        """Yield the places for a *text* of which parts may be taken out: every name's beginning."""
        for found in self._begun.finditer(text):
            start = found.start()
            # What is to be removed is left whole, or the template would not find it.
            if self.at(text, start) or not self._removed.match(text, start):
                yield start + 1

    def at(self, text: str, start: int) -> str:
        """Return the name that *text* has at *start*, or ""."""
        for length in self._lengths.get(text[start : start + _HEAD], ()):
            if (name := text[start : start + length]) in self._names:
                return name
        return ""

    def around(self, text: str, place: int, since: int) -> Span | None:
        """Return where a name is that reaches over *place*, at *since* or behind it."""
        for start in range(max(since, place - self._longest + 1), place):
            end = start + len(self.at(text, start))
            if end > place:
                return start, end
        return None


class Marking:
    """Marks one request's texts; nothing is marked where no text has a name."""

    def __init__(self, names: ControlNames, texts: object) -> None:
        """Look at all strings of *texts*, which are what will be marked."""
        strings = list(_strings(texts))
        self._names = names
        self._mark = ""
        if names and any(any(True for _ in names.places(text)) for text in strings):
            self._mark = _unused(strings)

    @property
    def marks(self) -> bool:
        """Whether anything is marked."""
        return bool(self._mark)

    def mark(self, value: Any, names: ControlNames | None = None) -> Any:
        """Return *value* with each name in its strings marked, or each of *names*."""
        if not self._mark:
            return value
        names = self._names if names is None else names
        match value:
            case str():
                return self._marked(value, names)
            case Mapping():
                return {
                    self.mark(key, names): self.mark(item, names) for key, item in value.items()
                }
            case list() | tuple():
                return [self.mark(item, names) for item in value]
        return value

    def _marked(self, text: str, names: ControlNames) -> str:
        places = list(names.places(text))
        cuts = zip([0, *places], [*places, len(text)], strict=True)
        return self._mark.join(text[start:end] for start, end in cuts)

    def clean(self, text: str) -> str:
        """Return *text* without marks."""
        return "".join(self._parts(text))

    def resolve(self, text: str) -> Verbatim:
        """Return the rendered *text* without marks, and where names stand that had one."""
        parts = self._parts(text)
        clean = "".join(parts)
        spans: list[Span] = []
        place = since = 0
        for part in parts[:-1]:
            place += len(part)
            span = self._names.around(clean, place, since)
            if span is not None:
                spans.append(span)
                since = span[1]
        return Verbatim(clean, tuple(spans))

    def _parts(self, text: str) -> list[str]:
        if not self._mark:
            return [text]
        # A template may write JSON in ASCII.
        return text.replace(_escape(self._mark), self._mark).split(self._mark)


def _escape(character: str) -> str:
    return json.dumps(character)[1:-1]


def _strings(value: object) -> Iterator[str]:
    """Yield all strings in *value*, the keys of mappings too."""
    inside = [value]
    while inside:
        match inside.pop():
            case str() as text:
                yield text
            case Mapping() as mapping:
                inside += [*mapping.keys(), *mapping.values()]
            case list() | tuple() as items:
                inside += items


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, texts)) or "(?!)")


def _unused(strings: Sequence[str]) -> str:
    """Return a character that none of *strings* has, nor its escape in JSON."""
    used = set().union(*strings)
    escapes = {escape for text in strings for found in _ESCAPES.findall(text) for escape in found}
    for code in chain(*_MARKS):
        mark = chr(code)
        if mark not in used and _escape(mark) not in escapes:
            return mark
    raise TemplateFailed("the messages use every character that could mark a name in them")
