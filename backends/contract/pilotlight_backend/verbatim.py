"""Splits a text at its verbatim parts, in which names of control tokens stay text."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
"""A part's start and end, in characters; the end is exclusive."""


def parts(text: str, spans: Sequence[Span]) -> Iterator[tuple[str, bool]]:
    """Yield the non-empty parts of *text* in order, each with whether it is one of *spans*.

    *spans* are in order and do not overlap.
    """
    at = 0
    for start, end in spans:
        if at < start:
            yield text[at:start], False
        if start < end:
            yield text[start:end], True
        at = end
    if at < len(text):
        yield text[at:], False
