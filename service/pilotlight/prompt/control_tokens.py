"""Keeps names of control tokens in a request's texts from becoming control tokens.

A chat template writes its markup and a user's text into one string, and the tokenizer turns names
such as `<|im_end|>` in it into control tokens: a user could end the turn and begin one of the
system's. Therefore the request's texts are marked before they are rendered: a character that occurs
nowhere else is inserted into each name. After rendering, the marks show which names came from the
request; the marks are removed, and those names are tokenized as text. Text without names is not
changed, nor are its tokens.

A mark inside a name survives what templates do: trimming, splitting, joining, `tojson`, comparing.
A text that ends with the beginning of a name is marked too, since the template may write another
text behind it. If the template removes something from texts, every beginning of a name is marked:
Nemotron's removes `/think`, and `<|im_/thinkend|>` would become a control token.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeAlias

from msgspec import Struct

from pilotlight.prompt.errors import TemplateFailed

Span: TypeAlias = tuple[int, int]

# Noncharacters, which no text should contain (Unicode 23.7), then private use.
_MARKS = (range(0xFDD0, 0xFDF0), range(0xF0000, 0xFFFFE))
_HEAD = 2
_ESCAPES = re.compile(r"(?=((\\u[0-9a-f]{4})(?:\\u[0-9a-f]{4})?))")
"""JSON escapes, alone and as surrogate pairs; Python's encoder writes them in lower case."""


class PromptText(Struct, frozen=True):
    """A prompt's text, and the spans in which names of control tokens stay text."""

    text: str
    spans: tuple[Span, ...] = ()


class ControlNames:
    """The names of a model's control tokens. Immutable, so safe for threads."""

    def __init__(self, names: Iterable[str] = (), removed: Iterable[str] = ()) -> None:
        """Ignore *names* of one character, which have no inside to mark.

        *removed* are the texts that the chat template may remove from others.
        """
        self._names = frozenset(name for name in names if len(name) >= _HEAD)
        lengths: dict[str, set[int]] = {}
        for name in self._names:
            lengths.setdefault(name[:_HEAD], set()).add(len(name))
        # Tokenizers match the longest of names with the same beginning.
        self._lengths = {head: sorted(some, reverse=True) for head, some in lengths.items()}
        self._heads = _any_of(lengths)
        self._longest = max(map(len, self._names), default=0)
        self._beginnings = {name[:end] for name in self._names for end in range(1, len(name))}
        removed = frozenset(removed) - {""}
        self._removed = _any_of(removed)
        # Behind its first character a name continues, or a removed text begins, or the text ends.
        firsts = _any_of({head[0] for head in lengths}).pattern
        gaps = _any_of({one[0] for one in removed}).pattern
        self._begun = re.compile(rf"(?={self._heads.pattern}|(?:{firsts})(?:{gaps}|\s*\Z))")

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __bool__(self) -> bool:
        return bool(self._names)

    def without(self, names: Iterable[str]) -> "ControlNames":
        """Return all names except *names*, for texts that the template removes nothing from."""
        return ControlNames(self._names.difference(names))

    def marks_in(self, text: str) -> Iterator[int]:
        """Yield the index of each mark in *text*: behind the first character of a name."""
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
        """Yield the indices for a *text* from which parts may be removed: behind each beginning."""
        for found in self._begun.finditer(text):
            start = found.start()
            # A mark within a removed text would keep the template from finding it.
            if self.at(text, start) or not self._removed.match(text, start):
                yield start + 1

    def at(self, text: str, start: int) -> str:
        """Return the name at *start* of *text*, or ""."""
        for length in self._lengths.get(text[start : start + _HEAD], ()):
            if (name := text[start : start + length]) in self._names:
                return name
        return ""

    def around(self, text: str, index: int, since: int) -> Span | None:
        """Return the span of a name around *index* that starts at *since* or later, or None."""
        for start in range(max(since, index - self._longest + 1), index):
            end = start + len(self.at(text, start))
            if end > index:
                return start, end
        return None


class Marking:
    """Marks one request's texts; does nothing if none contains a name."""

    def __init__(self, names: ControlNames, texts: object) -> None:
        """*texts* are all texts that will be marked, nested in lists and mappings."""
        strings = list(_strings(texts))
        self._names = names
        self._mark = ""
        if names and any(any(True for _ in names.marks_in(text)) for text in strings):
            self._mark = unused_character(strings)

    @property
    def marks(self) -> bool:
        """Whether any text contains a name."""
        return bool(self._mark)

    def mark(self, value: Any, names: ControlNames | None = None) -> Any:
        """Return *value* with the names in its strings marked; *names* replaces the model's."""
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
        marks = list(names.marks_in(text))
        cuts = zip([0, *marks], [*marks, len(text)], strict=True)
        return self._mark.join(text[start:end] for start, end in cuts)

    def clean(self, text: str) -> str:
        """Return *text* without marks."""
        return "".join(self._parts(text))

    def resolve(self, text: str) -> PromptText:
        """Return the rendered *text* without marks, with the spans of marked names."""
        parts = self._parts(text)
        clean = "".join(parts)
        spans: list[Span] = []
        index = since = 0
        for part in parts[:-1]:
            index += len(part)
            span = self._names.around(clean, index, since)
            if span is not None:
                spans.append(span)
                since = span[1]
        return PromptText(clean, tuple(spans))

    def _parts(self, text: str) -> list[str]:
        if not self._mark:
            return [text]
        # A template may write JSON in ASCII, with the mark as an escape.
        return text.replace(escape(self._mark), self._mark).split(self._mark)


def escape(character: str) -> str:
    """Return how JSON in ASCII writes *character*."""
    return json.dumps(character)[1:-1]


def _strings(value: object) -> Iterator[str]:
    """Yield all strings in *value*, including keys."""
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


def unused_character(texts: object) -> str:
    """Return a character that is in none of *texts*, nor is its JSON escape.

    *texts* are nested in lists and mappings. Raises `TemplateFailed`.
    """
    strings = list(_strings(texts))
    used = set().union(*strings)
    escapes = {escape for text in strings for found in _ESCAPES.findall(text) for escape in found}
    for code in chain(*_MARKS):
        mark = chr(code)
        if mark not in used and escape(mark) not in escapes:
            return mark
    raise TemplateFailed("the messages use every character that could mark control tokens in them")
