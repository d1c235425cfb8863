"""Ranges of the bytes of a file: present, missing. Pure."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
"""The bytes from the first number to before the second."""


def merge(spans: Iterable[Span]) -> list[Span]:
    """Merge adjacent and overlapping spans, sort them, and drop empty ones."""
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def missing(size: int, done: Sequence[Span]) -> list[Span]:
    """Return the spans of *size* bytes that are not in *done*, which is merged."""
    starts = [0, *(end for _, end in done)]
    ends = [*(start for start, _ in done), size]
    return [span for span in zip(starts, ends, strict=True) if span[0] < span[1]]


def cut(spans: Iterable[Span], length: int) -> list[Span]:
    """Split *spans* into pieces of at most *length* bytes."""
    return [(at, min(at + length, end)) for start, end in spans for at in range(start, end, length)]


def total(spans: Iterable[Span]) -> int:
    """Return the number of bytes in *spans*, which may not overlap."""
    return sum(end - start for start, end in spans)
