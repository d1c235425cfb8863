"""Spans of bytes."""

import pytest

from pilotlight.models.fetch.spans import cut, merge, missing, total


@pytest.mark.parametrize(
    ("spans", "merged"),
    [
        ([], []),
        ([(3, 3)], []),
        ([(5, 9), (0, 5)], [(0, 9)]),
        ([(0, 4), (2, 3), (6, 8)], [(0, 4), (6, 8)]),
        ([(0, 4), (3, 8)], [(0, 8)]),
    ],
)
def test_merge(spans, merged):
    """Neighbours and overlaps become one; empty spans go."""
    assert merge(spans) == merged


@pytest.mark.parametrize(
    ("size", "done", "left"),
    [
        (10, [], [(0, 10)]),
        (10, [(0, 10)], []),
        (10, [(2, 4), (7, 10)], [(0, 2), (4, 7)]),
        (10, [(0, 1), (2, 3)], [(1, 2), (3, 10)]),
        (0, [], []),
    ],
)
def test_missing(size, done, left):
    """What is not done is missing, and both together are the file."""
    assert missing(size, done) == left
    assert total(done) + total(left) == size


def test_cut():
    """No piece is longer, none is empty, none reaches over a gap."""
    assert cut([(0, 5), (8, 10)], 2) == [(0, 2), (2, 4), (4, 5), (8, 10)]
