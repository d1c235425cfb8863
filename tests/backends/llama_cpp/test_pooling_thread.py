"""The steps of an embedding engine's thread, driven by hand over a context without a model."""

from array import array

import pytest

from pilotlight_backend import (
    Embedded,
    EngineClosed,
    Failed,
    Finish,
    InferenceFailed,
    Started,
)
from pilotlight_llama_cpp.batch import Decoded
from pilotlight_llama_cpp.pooling_thread import PoolingJob, PoolingThread
from tests.backends.llama_cpp.fake_decoder import FakeFlag


class FakeDecoder:
    """Keeps its batches; an input's vector is its tokens."""

    def __init__(self, *, step=10, part=10, sequences=4):
        self.abort = FakeFlag()
        self.step, self.part, self.sequences = step, part, sequences
        self.batches = []
        self.outcomes = []
        """Of the next decodes; once it is empty they succeed. A function is called for it."""
        self.broken = set()
        """Sequences without a vector."""
        self.closed = False
        self._held = {}

    def decode(self, parts):
        self.batches.append([(part.sequence, part.start, list(part.tokens)) for part in parts])
        outcome = self.outcomes.pop(0) if self.outcomes else Decoded.DONE
        if callable(outcome):
            outcome = outcome()
        if self.abort.up:
            return Decoded.ABORTED
        for part in parts:
            held = self._held[part.sequence] if part.start else []
            assert len(held) == part.start, "a hole in the sequence"
            self._held[part.sequence] = [*held, *part.tokens]
        return outcome

    def output(self, sequence):
        if sequence in self.broken:
            raise InferenceFailed("there is none")
        return Embedded(array("f", self._held[sequence]))

    def close(self):
        self.closed = True


class Heard(list):
    """A request's events."""

    @property
    def vectors(self):
        return [list(event.vector) for event in self if isinstance(event, Embedded)]

    @property
    def reason(self):
        (end,) = [event for event in self if isinstance(event, Finish)]
        return end.reason

    @property
    def error(self):
        (end,) = [event for event in self if isinstance(event, Failed)]
        return end.error


@pytest.fixture
def decoder():
    return FakeDecoder()


@pytest.fixture
def runner(decoder):
    return PoolingThread(decoder)


def submit(runner, *inputs, emit=None):
    heard = Heard()
    job = PoolingJob(runner, inputs, emit or heard.append)
    runner.submit(job)
    return job, heard


def idle(runner):
    stats = runner.stats()
    return stats.queued == stats.slots_busy == 0


def test_inputs_of_a_request_are_one_batch(runner, decoder):
    """One decode for all, each input a sequence of its own."""
    _, heard = submit(runner, [1, 2], [3], [4, 5, 6])
    runner.step()
    assert decoder.batches == [[(0, 0, [1, 2]), (1, 0, [3]), (2, 0, [4, 5, 6])]]
    assert heard.vectors == [[1, 2], [3], [4, 5, 6]]
    assert (heard[0], heard.reason) == (Started(6, 0), "stop")
    assert idle(runner)


def test_requests_of_several_clients_are_one_batch(runner, decoder):
    """They are gathered in the order in which they came."""
    heard = [submit(runner, [n], [n, n])[1] for n in (1, 2)]
    runner.step()
    assert decoder.batches == [[(0, 0, [1]), (1, 0, [1, 1]), (2, 0, [2]), (3, 0, [2, 2])]]
    assert [one.vectors for one in heard] == [[[1], [1, 1]], [[2], [2, 2]]]


def test_more_than_fit_take_more_steps(runner, decoder):
    """As few as hold them, in order; the last may be shared with the next request."""
    _, first = submit(runner, *([n] * 4 for n in range(5)))
    _, second = submit(runner, [9])
    for _ in range(3):
        runner.step()
    assert [len(batch) for batch in decoder.batches] == [2, 2, 2]
    assert first.vectors == [[n] * 4 for n in range(5)]
    assert second.vectors == [[9]]


def test_long_input_is_a_step_of_its_own(runner, decoder):
    """In parts that follow each other, in the place that it has in the queue."""
    decoder.step = decoder.part = 3
    _, heard = submit(runner, [1], [2] * 7, [3])
    for _ in range(3):
        runner.step()
    assert decoder.batches == [
        [(0, 0, [1])],
        [(0, 0, [2] * 3)],
        [(0, 3, [2] * 3)],
        [(0, 6, [2])],
        [(0, 0, [3])],
    ]
    assert heard.vectors == [[1], [2] * 7, [3]]
    assert runner.stats().steps == 5


def test_long_input_that_must_be_whole_is_whole(decoder, runner):
    """Where the context takes no parts, one batch holds it all."""
    decoder.part = 20
    _, heard = submit(runner, [1] * 15, [2])
    runner.step()
    runner.step()
    assert [len(batch) for batch in decoder.batches] == [1, 1]
    assert heard.vectors == [[1] * 15, [2]]


def test_cancelled_in_the_queue_is_not_evaluated(runner, decoder):
    """It has its end, and the others go on."""
    job, cancelled = submit(runner, [1])
    _, heard = submit(runner, [2])
    job.cancel()
    runner.step()
    assert decoder.batches == [[(0, 0, [2])]]
    assert (list(cancelled), cancelled.reason) == ([cancelled[-1]], "cancelled")
    assert heard.vectors == [[2]]
    job.cancel()
    runner.step()
    assert len(cancelled) == 1
    assert idle(runner)


def test_cancelled_between_steps_leaves_the_rest(runner, decoder):
    """Inputs that no step has taken are dropped."""
    job, heard = submit(runner, *([n] * 6 for n in range(3)))
    runner.step()
    job.cancel()
    runner.step()
    assert len(decoder.batches) == 1
    assert (heard.vectors, heard.reason) == ([[0] * 6], "cancelled")
    assert idle(runner)


def test_cancelled_between_parts_stops_there(runner, decoder):
    """A long input is left at the next part."""
    decoder.step = decoder.part = 2
    job, heard = submit(runner, [1] * 8)
    decoder.outcomes = [lambda: (job.cancel(), Decoded.DONE)[1]]
    runner.step()
    runner.step()
    assert len(decoder.batches) == 1
    assert (heard.vectors, heard.reason) == ([], "cancelled")
    assert idle(runner)
    _, next_one = submit(runner, [2])
    runner.step()
    assert next_one.vectors == [[2]]


def test_cancelled_in_a_step_of_others_stops_nothing(runner, decoder):
    """A step is stopped when all its requests are cancelled, and not before."""
    first, one = submit(runner, [1])
    second, two = submit(runner, [2])
    decoder.outcomes = [lambda: (first.cancel(), Decoded.DONE)[1]]
    runner.step()
    assert (one.vectors, two.vectors) == ([[1]], [[2]])
    first, one = submit(runner, [1])
    second, two = submit(runner, [2])
    decoder.outcomes = [lambda: (first.cancel(), second.cancel(), Decoded.DONE)[2]]
    runner.step()
    runner.step()
    assert (one.vectors, two.vectors) == ([], [])
    assert (one.reason, two.reason) == ("cancelled", "cancelled")
    assert idle(runner)


def test_closed_between_parts_stops_there(runner, decoder):
    """The request ends with `EngineClosed`, and the context is freed."""
    decoder.step = decoder.part = 2
    _, heard = submit(runner, [1] * 8)
    _, queued = submit(runner, [2])
    decoder.outcomes = [lambda: (runner.stop(), Decoded.DONE)[1]]
    runner.run()
    assert len(decoder.batches) == 1
    assert isinstance(heard.error, EngineClosed)
    assert isinstance(queued.error, EngineClosed)
    assert decoder.closed
    with pytest.raises(EngineClosed):
        submit(runner, [3])


@pytest.mark.parametrize("outcome", [Decoded.REFUSED, Decoded.BROKEN])
def test_decode_that_fails_ends_the_requests_of_its_step(runner, decoder, outcome):
    """One end each, even with inputs that would have come later; then the next is answered."""
    _, one = submit(runner, [1], [1], *([1] * 9 for _ in range(3)))
    _, two = submit(runner, [2])
    decoder.outcomes = [outcome]
    runner.step()
    runner.step()
    assert isinstance(one.error, InferenceFailed)
    assert one.vectors == []
    assert two.vectors == [[2]]
    assert idle(runner)


def test_engine_that_raises_goes_on(runner, decoder):
    """An unforeseen error ends the requests of its step, and no other."""
    _, one = submit(runner, [1])
    decoder.outcomes = [lambda: 1 / 0]
    two = Heard()

    def hear(event):
        two.append(event)
        if isinstance(event, Finish):
            runner.stop()

    def after(event):
        if isinstance(event, Failed):
            submit(runner, [2], emit=hear)

    submit(runner, [3], emit=after)
    runner.run()
    assert isinstance(one.error, InferenceFailed)
    assert two.vectors == [[2]]


def test_input_without_a_vector_fails_its_request_alone(runner, decoder):
    """The others of the step have theirs."""
    decoder.broken = {1}
    _, one = submit(runner, [1], [2], [3])
    _, two = submit(runner, [4])
    runner.step()
    assert isinstance(one.error, InferenceFailed)
    assert two.vectors == [[4]]
    assert idle(runner)


def test_listener_that_raises_is_cancelled(runner, decoder):
    """Its request is dropped at the next step, and the others go on."""

    def refuse(_event):
        raise RuntimeError("no")

    submit(runner, *([n] * 6 for n in range(3)), emit=refuse)
    _, heard = submit(runner, [9])
    runner.step()
    runner.step()
    assert decoder.batches == [[(0, 0, [9])]]
    assert heard.vectors == [[9]]
    assert idle(runner)


def test_figures(runner):
    """Who waits, what was evaluated, and in how many decodes."""
    submit(runner, *([1] * 6 for _ in range(2)))
    submit(runner, [2])
    assert (runner.stats().queued, runner.stats().slots) == (2, 4)
    runner.step()
    assert (runner.stats().queued, runner.stats().prompt_tokens) == (1, 6)
    runner.step()
    assert (runner.stats().queued, runner.stats().prompt_tokens) == (0, 13)
    assert (runner.stats().steps, runner.stats().completion_tokens) == (2, 0)
