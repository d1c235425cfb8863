"""Parts of a text that a backend tokenises apart."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
"""Where a part begins and ends, in characters."""


def parts(text: str, spans: Sequence[Span]) -> Iterator[tuple[str, bool]]:
    """Yield the parts of *text* in order, each with whether it is one of *spans*; no empty one.

    *spans* rise, and do not overlap.
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
