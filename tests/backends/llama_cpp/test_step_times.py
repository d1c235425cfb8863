"""The time of a step is learned from steps."""

import random

import pytest

from pilotlight_llama_cpp.step_times import StepTimes


def test_before_a_step_the_prior_holds():
    """A pass takes as long as one and a half rows."""
    times = StepTimes()
    assert times.step([1]) == 2.5
    assert times.step([4, 1]) == 8


def test_one_step_gives_the_unit():
    """The ratio stays that of the prior, in seconds."""
    times = StepTimes()
    times.add([1], 0.03)
    assert times.step([1]) == pytest.approx(0.03, rel=0.01)
    assert times.step([4]) == pytest.approx(0.066, rel=0.02)


@pytest.mark.parametrize(("pass_", "row"), [(0.02, 0.013), (0.06, 0.002), (0.001, 0.02)])
def test_measured_steps_replace_the_prior(pass_, row):
    """Also where a pass takes most of a step, and where it takes nothing.

    A row beyond four takes 0.7 of the time of one before.
    """
    times, chance = StepTimes(), random.Random(1)  # noqa: S311 - repeatable
    for _ in range(200):
        ubatches, rows = chance.choice([([1], 1), ([4], 4), ([14], 11), ([2, 9], 9.5)])
        seconds = len(ubatches) * pass_ + rows * row
        times.add(ubatches, seconds * chance.uniform(0.97, 1.03))
    assert times.step([34]) == pytest.approx(pass_ + 25 * row, rel=0.1)
    assert times.step([1]) == pytest.approx(pass_ + row, rel=0.1)


COSTS = {1: 15.9, 2: 32.0, 4: 40.9, 8: 58.1, 16: 95.1, 32: 165.7, 64: 305.3}
"""Milliseconds of Gemma 3 270M: two rows take twice as long as one, four not much longer."""


@pytest.mark.parametrize("rows", COSTS)
def test_sizes_that_are_off_the_line_are_learned(rows):
    """The kernels for one row, for four, and for tiles of attention are others."""
    times, chance = StepTimes(), random.Random(2)  # noqa: S311 - repeatable
    for _ in range(100):
        size = chance.choice(list(COSTS))
        times.add([size], COSTS[size] * chance.uniform(0.98, 1.02))
    assert times.step([rows]) == pytest.approx(COSTS[rows], rel=0.15)


def test_tiles_are_tried_and_then_known():
    """From 64 rows on attention may take less; where it does not, one step shows it."""
    times = StepTimes()
    for size in (1, 4, 16, 48) * 5:
        times.add([size], COSTS.get(size, 240.2))
    assert times.step([64]) < 0.9 * COSTS[64]
    for _ in range(3):
        times.add([64], COSTS[64])
    assert times.step([64]) == pytest.approx(COSTS[64], rel=0.1)


def test_machine_that_becomes_slower_is_noticed():
    """Earlier steps fade."""
    times = StepTimes()
    for seconds in [0.03] * 100 + [0.09] * 100:
        times.add([1], seconds)
    assert times.step([1]) == pytest.approx(0.09, rel=0.1)


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_clock_that_stands_still_teaches_nothing(seconds):
    """No division by zero, and no negative time."""
    times = StepTimes()
    times.add([1], seconds)
    assert times.step([1]) == 2.5


def test_no_pass_and_no_row_is_free():
    """Whatever is measured: a larger batch that took no longer, or a smaller one."""
    times = StepTimes()
    for _ in range(100):
        times.add([1], 0.05)
        times.add([16], 0.01)
    assert 0 < times.step([1]) < times.step([2]) < times.step([1, 1])
