"""What a step takes, from the times of earlier steps. Pure."""

from collections.abc import Sequence

_PRIOR = 2.0
"""Rows whose time a pass takes beside its rows, before it is measured. Qwen3-0.6B's shape on two
cores with AVX-512: a step of 1 row took 33 ms, of 4 rows 94, of 16 rows 232 with Q4_K_M (1.5 rows),
and 43, 109 and 234 with Q8_0 (2.4 rows)."""
_FEW, _FURTHER = 4, 0.8
"""A row beyond a few takes this part of the time of one before: in the steps above 0.57 and 0.47,
on one thread 0.84 and 0.59. So longer drafts are tried once short ones have been measured."""
_WEIGHT = 0.3
"""How many measured steps the prior counts as."""
_DECAY = 0.97
"""What an earlier step counts beside the next one: the context grows, and the machine is shared."""


class StepTimes:
    """Fits the time of a ubatch, which is a pass over the weights and rows, to measured steps.

    Least squares, in which earlier steps fade. Where they do not say what a row takes, as long as
    every step has one row, the prior does.
    """

    def __init__(self) -> None:
        self._pass, self._row = _PRIOR, 1.0
        self._is_solved = True
        self._passes_squared = self._rows_squared = self._passes_rows = 0.0
        self._passes_seconds = self._rows_seconds = 0.0

    def add(self, ubatches: Sequence[int], seconds: float) -> None:
        """Learn from a step that computed *ubatches*, each of so many rows."""
        if seconds <= 0:
            return
        passes, rows = len(ubatches), _rows(ubatches)
        self._passes_squared = self._passes_squared * _DECAY + passes * passes
        self._rows_squared = self._rows_squared * _DECAY + rows * rows
        self._passes_rows = self._passes_rows * _DECAY + passes * rows
        self._passes_seconds = self._passes_seconds * _DECAY + passes * seconds
        self._rows_seconds = self._rows_seconds * _DECAY + rows * seconds
        self._is_solved = False

    def _solve(self) -> None:
        passes = self._passes_squared + _WEIGHT
        rows = self._rows_squared + _WEIGHT * _PRIOR**2
        both = self._passes_rows - _WEIGHT * _PRIOR
        determinant = passes * rows - both * both
        pass_ = (self._passes_seconds * rows - self._rows_seconds * both) / determinant
        row = (self._rows_seconds * passes - self._passes_seconds * both) / determinant
        # A fit of noise may be negative: neither is free.
        least = (abs(pass_) + abs(row)) / 100
        self._pass, self._row = max(pass_, least), max(row, least)
        self._is_solved = True

    def step(self, ubatches: Sequence[int]) -> float:
        """Return what a step that computes *ubatches* takes; in rows before the first one."""
        if not self._is_solved:  # few steps are asked about: most have no draft
            self._solve()
        return len(ubatches) * self._pass + _rows(ubatches) * self._row


def _rows(ubatches: Sequence[int]) -> float:
    """Return how many single rows take as long as those of *ubatches*."""
    return sum(rows - (1 - _FURTHER) * max(0, rows - _FEW) for rows in ubatches)
