"""A step that hangs is distinguished from one that is slow, by checks at times that a test sets."""

import pytest

from pilotlight.models.health.watchdog import StepTimer
from pilotlight_backend import Step


@pytest.fixture
def timer() -> StepTimer:
    return StepTimer(60, interval=1)


def hangs_after(timer: StepTimer, step: Step, seconds: int) -> int | None:
    """Return in which second *timer* says that *step* hangs."""
    return next((now for now in range(seconds) if timer.hangs(now, [step])), None)


def test_step_that_stays_hangs(timer):
    """The one step under way is there at every look, until it has taken its time."""
    assert hangs_after(timer, Step(1, 0), 100) == 60


def test_steps_that_follow_each_other_never_hang(timer):
    """Each is another one, however long the answer takes."""
    assert not any(timer.hangs(now, [Step(now // 59, 0)]) for now in range(10_000))


def test_idle_engine_never_hangs(timer):
    assert not any(timer.hangs(now, []) for now in range(10_000))


def test_step_that_reads_a_prompt_has_more_time(timer):
    """Its time once more for every 64 tokens."""
    assert hangs_after(timer, Step(1, 512), 1000) == 9 * 60


def test_one_of_several_hangs(timer):
    """Another slot's steps go on beside it."""
    looks = [timer.hangs(now, [Step(-1, 0), Step(now, 0)]) for now in range(61)]
    assert looks == [False] * 60 + [True]


def test_time_begins_with_the_first_look(timer):
    """The clock's own reading says nothing, and a step that ended is forgotten."""
    assert not timer.hangs(1e9, [Step(1, 0)])
    assert not timer.hangs(1e9 + 1, [])
    assert not any(timer.hangs(1e9 + 2 + now, [Step(1, 0)]) for now in range(60))


def test_frozen_process_finds_its_step_where_it_was(timer):
    """An hour without a check does not count as an hour of computing."""
    assert not timer.hangs(0, [Step(1, 0)])
    assert not timer.hangs(3600, [Step(1, 0)])
    assert not timer.hangs(3630, [Step(1, 0)])
    assert hangs_after(timer, Step(1, 0), 100) is not None


def test_clock_that_goes_back_makes_no_step_shorter(timer):
    for now in range(59):
        assert not timer.hangs(now, [Step(1, 0)])
    assert not timer.hangs(-1000, [Step(1, 0)])
    assert not timer.hangs(-999, [Step(1, 0)])
    assert timer.hangs(-998, [Step(1, 0)])
