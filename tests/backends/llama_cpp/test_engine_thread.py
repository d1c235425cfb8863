"""What engines of both kinds have in common: the inbox, the loop, aborts, and how jobs end."""

import logging
import threading
from collections import deque

import pytest

from pilotlight_backend import EngineClosed, Failed, Finish, InferenceFailed, Step, Usage
from pilotlight_llama_cpp.batch import Decoded
from pilotlight_llama_cpp.engine_thread import EngineJob, EngineThread
from tests.backends.llama_cpp.fake_decoder import FakeFlag


class Decoder:
    """Calls the jobs of its batch, as a decode that takes as long as their work."""

    def __init__(self):
        self.abort = FakeFlag()
        self.closed = threading.Event()

    def decode(self, runs):
        for job in runs:
            job.work(job)
        return Decoded.ABORTED if self.abort.up else Decoded.DONE

    def close(self):
        self.closed.set()


class Job(EngineJob):
    """A job of one step, in which *work* is called with the job."""

    def __init__(self, thread, work=lambda _job: None, emit=None):
        self.thread, self.work, self.ended = thread, work, False
        self.events = []
        self.heard = threading.Event()
        self._emit = emit or (lambda _event: None)

    def emit(self, event):
        self.events.append(event)
        self.heard.set()
        self._emit(event)

    def usage(self):
        return Usage(prompt_tokens=1, completion_tokens=0)


class Thread(EngineThread):
    """Evaluates all queued jobs in one batch, and finishes those that it evaluated."""

    def __init__(self):
        super().__init__(Decoder(), clock=lambda: 0.0)
        self.queue = deque()
        self.outcomes = []

    @property
    def decoder(self):
        return self._decoder

    def reported(self):
        return self._under_way

    def _has_work(self):
        return bool(self.queue)

    def _enqueue(self, job):
        self.queue.append(job)

    def _release(self, job):
        self.queue.remove(job)

    def _unended(self):
        return list(self.queue)

    def _fail_step(self, error):
        for job in list(self.queue):
            self.end(job, Failed(error))

    def _advance(self):
        jobs = list(self.queue)
        if jobs:
            self._report_step(len(jobs))
            self.outcomes.append(self._decode(jobs, jobs))
            if self.outcomes[-1] is Decoded.DONE:
                for job in jobs:
                    self.finish(job, "stop")


@pytest.fixture
def thread():
    return Thread()


def submit(thread, *args, **kwargs):
    job = Job(thread, *args, **kwargs)
    thread.submit(job)
    return job


def reasons(*jobs):
    return [[event.reason for event in job.events] for job in jobs]


def test_sleeping_thread_wakes_for_a_job_and_ends_when_closed(thread):
    """It serves what comes while it waits; `close` returns once everything is freed."""
    thread.start("model.gguf")
    first = submit(thread)
    assert first.heard.wait(10)
    second = submit(thread)
    assert second.heard.wait(10)
    assert not thread.dead
    thread.close()
    assert thread.dead
    assert thread.decoder.closed.is_set()
    assert reasons(first, second) == [["stop"], ["stop"]]
    with pytest.raises(EngineClosed):
        submit(thread)


def test_close_on_the_engines_own_thread_does_not_wait_for_itself(thread):
    """An `emit` may close the engine: the thread ends behind it."""
    thread.start("model.gguf")
    submit(thread, emit=lambda _event: thread.close())
    assert thread.decoder.closed.wait(10)


def test_decode_whose_jobs_are_all_cancelled_is_aborted(thread):
    """One that is left in the batch keeps the decode going."""
    one, two = submit(thread, Job.cancel), submit(thread)
    thread.step()
    assert thread.outcomes == [Decoded.DONE]
    assert reasons(one, two) == [["stop"], ["stop"]]
    three, four = submit(thread, Job.cancel), submit(thread, Job.cancel)
    thread.step()
    thread.step()
    assert thread.outcomes[1:] == [Decoded.ABORTED]
    assert reasons(three, four) == [["cancelled"], ["cancelled"]]


def test_decode_that_a_subclass_wants_whole_is_not_aborted(thread):
    """The job is evaluated, and ends as it would have."""
    thread._may_abort = lambda _jobs: False
    job = submit(thread, Job.cancel)
    thread.step()
    assert (thread.outcomes, reasons(job)) == ([Decoded.DONE], [["stop"]])


def test_flag_of_an_aborted_decode_is_down_at_the_next(thread):
    """What one job's cancel stopped does not stop another's decode."""
    cancelled = submit(thread, Job.cancel)
    thread.step()
    thread.step()
    job = submit(thread)
    thread.step()
    assert reasons(cancelled, job) == [["cancelled"], ["stop"]]


def test_step_that_raises_fails_its_jobs_and_no_later_one(thread, caplog):
    """The fault is logged with its traceback; the thread goes on."""

    def fail(_job):
        raise RuntimeError("unforeseen")

    with caplog.at_level(logging.ERROR):
        job = submit(thread, fail)
        thread.start("model.gguf")
        assert job.heard.wait(10)
        later = submit(thread)
        assert later.heard.wait(10)
    thread.close()
    assert isinstance(job.events[0].error, InferenceFailed)
    assert reasons(later) == [["stop"]]
    assert caplog.records[0].exc_info


def test_thread_that_dies_fails_every_job(thread):
    """What is no `Exception` ends the thread; no caller waits for it in vain."""

    def end(_job):
        thread.submit(queued)
        raise SystemExit

    running, queued = submit(thread, end), Job(thread)
    with pytest.raises(SystemExit):
        thread.run()
    assert thread.decoder.closed.is_set()
    for job in (running, queued):
        (last,) = job.events
        assert isinstance(last.error, EngineClosed)
    with pytest.raises(EngineClosed):
        submit(thread)


def test_job_that_cannot_be_queued_fails_alone(thread, caplog):
    """The others that came with it are evaluated."""
    refused, later = submit(thread), submit(thread)
    enqueue = thread._enqueue

    def refuse(job):
        if job is refused:
            raise RuntimeError("can't start new thread")
        enqueue(job)

    thread._enqueue = refuse
    thread.step()
    (last,) = refused.events
    assert isinstance(last.error, InferenceFailed)
    assert str(last.error) == "the engine failed: can't start new thread"
    assert (refused.ended, reasons(later)) == (True, [["stop"]])
    assert "a request cannot be queued" in caplog.text


def test_each_step_is_reported_by_a_number_of_its_own(thread):
    """While it runs, with the tokens that it evaluates."""
    seen = []
    for _ in range(2):
        submit(thread, lambda _job: seen.append(thread.reported()))
        thread.step()
    (first,), (second,) = seen
    assert (first.tokens, second.tokens) == (1, 1)
    assert isinstance(first, Step)
    assert first.number != second.number


def test_cancel_after_the_end_is_no_second_event(thread):
    """The ticket may be cancelled at any time."""
    job = submit(thread)
    thread.step()
    job.cancel()
    thread.step()
    assert [type(event) for event in job.events] == [Finish]
