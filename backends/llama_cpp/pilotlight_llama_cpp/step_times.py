"""What a step takes, from the times of earlier steps. Pure."""

from bisect import bisect_left
from collections.abc import Sequence

_PRIOR = 1.5
"""Rows whose time a pass takes beside its rows, before it is measured."""
_FEW, _FURTHER = 4, 0.7
"""A row beyond a few takes this part of the time of one before.

With these three, 4, 8, 16 and 32 rows take 2.2, 3.3, 5.6 and 10.0 times as long as one. Measured
behind 768 tokens, on two cores with AVX-512: 2.2, 3.8, 5.7, 10.0 with Qwen3-0.6B's shape in Q4_K_M;
2.6, 3.7, 6.0, 10.4 with Gemma 3 270M. So longer drafts are tried once short ones were accepted."""
_SIZES = (1, 3, 4, 8, 16, 32, 63)
"""The largest rows of ubatches that are alike; more than the last is the last kind. Kernels for
weights compute four rows together, and from 64 rows on flash attention computes tiles on a CPU
(GGML_FA_TILE_Q in ggml-cpu/common.h): 64 rows of the former model took 13.6 times as long as one,
and 48 rows 14.1. With a longer context the difference is larger."""
_TILES = 0.8
"""What a ubatch with tiles takes of the time that its rows would say, before it is measured."""
_NEW = 0.5
"""What a measured step counts for the rows that it has, beside earlier ones."""
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
        self._passes_squared = self._rows_squared = self._passes_rows = 0.0
        self._passes_seconds = self._rows_seconds = 0.0
        self._ratios = [1.0] * len(_SIZES) + [_TILES]
        """What a ubatch of a size takes of the time that the fit says."""

    def add(self, ubatches: Sequence[int], seconds: float) -> None:
        """Learn from a step that computed *ubatches*, each of so many rows."""
        if seconds <= 0:
            return
        passes, rows = len(ubatches), _rows(ubatches)
        kind = _kind(max(ubatches))
        fitted = seconds if kind < len(_SIZES) else seconds / self._ratios[kind]
        self._passes_squared = self._passes_squared * _DECAY + passes * passes
        self._rows_squared = self._rows_squared * _DECAY + rows * rows
        self._passes_rows = self._passes_rows * _DECAY + passes * rows
        self._passes_seconds = self._passes_seconds * _DECAY + passes * fitted
        self._rows_seconds = self._rows_seconds * _DECAY + rows * fitted
        self._solve()
        if passes == 1:
            ratio = seconds / (self._pass + rows * self._row)
            self._ratios[kind] += (ratio - self._ratios[kind]) * _NEW

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

    def step(self, ubatches: Sequence[int]) -> float:
        """Return what a step that computes *ubatches* takes; in rows before the first one."""
        return sum(
            (self._pass + _rows([rows]) * self._row) * self._ratios[_kind(rows)]
            for rows in ubatches
        )


def _kind(rows: int) -> int:
    """Return the index of the size of a ubatch of *rows*."""
    return bisect_left(_SIZES, rows)


def _rows(ubatches: Sequence[int]) -> float:
    """Return how many single rows take as long as those of *ubatches*."""
    return sum(rows - (1 - _FURTHER) * max(0, rows - _FEW) for rows in ubatches)
