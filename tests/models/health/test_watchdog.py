"""A step that hangs is told from one that is slow, by looks at a clock that the test sets."""

import pytest

from pilotlight.models.health.watchdog import StepWatch
from pilotlight_backend import Step


@pytest.fixture
def watch() -> StepWatch:
    return StepWatch(60, interval=1)


def hangs_after(watch: StepWatch, step: Step, seconds: int) -> int | None:
    """Return in which second *watch* says that *step* hangs."""
    return next((now for now in range(seconds) if watch.hangs(now, [step])), None)


def test_step_that_stays_hangs(watch):
    """The one step under way is there at every look, until it has taken its time."""
    assert hangs_after(watch, Step(1, 0), 100) == 60


def test_steps_that_follow_each_other_never_hang(watch):
    """Each is another one, however long the answer takes."""
    assert not any(watch.hangs(now, [Step(now // 59, 0)]) for now in range(10_000))


def test_idle_engine_never_hangs(watch):
    assert not any(watch.hangs(now, []) for now in range(10_000))


def test_step_that_reads_a_prompt_has_more_time(watch):
    """Its time once more for every 64 tokens."""
    assert hangs_after(watch, Step(1, 512), 1000) == 9 * 60


def test_one_of_several_hangs(watch):
    """Another slot's steps go on beside it."""
    looks = [watch.hangs(now, [Step(-1, 0), Step(now, 0)]) for now in range(61)]
    assert looks == [False] * 60 + [True]


def test_time_begins_with_the_first_look(watch):
    """The clock's own reading says nothing, and a step that ended is forgotten."""
    assert not watch.hangs(1e9, [Step(1, 0)])
    assert not watch.hangs(1e9 + 1, [])
    assert not any(watch.hangs(1e9 + 2 + now, [Step(1, 0)]) for now in range(60))


def test_frozen_process_finds_its_step_where_it_was(watch):
    """An hour in which nobody looked was no hour in which the engine could compute."""
    assert not watch.hangs(0, [Step(1, 0)])
    assert not watch.hangs(3600, [Step(1, 0)])
    assert not watch.hangs(3630, [Step(1, 0)])
    assert hangs_after(watch, Step(1, 0), 100) is not None


def test_clock_that_goes_back_makes_no_step_shorter(watch):
    for now in range(59):
        assert not watch.hangs(now, [Step(1, 0)])
    assert not watch.hangs(-1000, [Step(1, 0)])
    assert not watch.hangs(-999, [Step(1, 0)])
    assert watch.hangs(-998, [Step(1, 0)])
