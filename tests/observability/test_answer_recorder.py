"""When things happened to an answer."""

import pytest

from pilotlight.observability.answer_recorder import AnswerRecorder
from pilotlight.observability.metrics import AnswerRecord
from pilotlight.observability.timing import server_timing
from pilotlight_backend import Usage
from tests.clock import Clock

USAGE = Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=2)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_cold_answer_has_a_timing(clock):
    """The load's phases, the wait for it, then the answer's own, in the order they passed."""
    recorder = AnswerRecorder(clock)
    clock.now = 103.0
    recorder.cold({"import": 0.5, "read": 2.0, "load": 1.0})
    recorder.submitted()
    clock.now = 104.0
    begun = recorder.begun()
    clock.now = 106.0
    whole = recorder.first_token()

    assert begun == {"import": 0.5, "read": 2.0, "load": 1.0, "hold": 3.0, "queue": 1.0}
    assert whole == {**begun, "prefill": 2.0, "first_token": 6.0}
    assert server_timing(begun) == (
        "import;dur=500.0, read;dur=2000.0, load;dur=1000.0, hold;dur=3000.0, queue;dur=1000.0"
    )


def test_the_restore_of_a_cached_prompt_is_a_phase_between_queue_and_prefill(clock):
    recorder = AnswerRecorder(clock)
    recorder.cold({"load": 1.0})
    recorder.submitted()
    clock.now += 4.0
    begun = recorder.begun(1.5)
    clock.now += 2.0
    whole = recorder.first_token()
    assert list(begun.items())[-2:] == [("queue", 2.5), ("restore", 1.5)]
    assert list(whole) == ["load", "hold", "queue", "restore", "prefill", "first_token"]
    record = recorder.record()
    assert (record.queue, record.restore, record.prefill) == (2.5, 1.5, 2.0)


def test_a_warm_answer_has_none(clock):
    """Nothing is recorded if the model was ready."""
    recorder = AnswerRecorder(clock)
    recorder.submitted()
    assert recorder.begun() is None
    assert recorder.first_token() is None


def test_the_record_of_a_whole_answer(clock):
    """Every time and every token, in the metrics' words."""
    recorder = AnswerRecorder(clock)
    recorder.model = "m"
    for step in (recorder.submitted, recorder.begun, recorder.first_token):
        clock.now += 1
        step()
    clock.now += 5
    recorder.ended("stop")
    recorder.spent(USAGE)
    assert recorder.record() == AnswerRecord(
        model="m",
        outcome="stop",
        queue=1.0,
        prefill=1.0,
        first_token=3.0,
        decode=5.0,
        prompt_tokens=7,
        cached_tokens=2,
        completion_tokens=3,
        submitted=1.0,
        took=8.0,
    )


def test_the_record_of_one_that_was_cancelled_in_the_queue(clock):
    """What it did not reach has no time."""
    recorder = AnswerRecorder(clock)
    recorder.submitted()
    clock.now += 2
    assert recorder.record() == AnswerRecord(model="", outcome="cancelled", submitted=0.0, took=2.0)
