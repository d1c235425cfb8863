"""The engine's threads on a fake model; tests wait for what the threads say, never for time."""

import itertools
import logging
import math
import threading
from queue import SimpleQueue

import numpy as np
import pytest

from pilotlight_backend import (
    EngineClosed,
    Failed,
    Finish,
    GenerateRequest,
    InferenceFailed,
    SamplingParams,
    Started,
    Token,
)
from pilotlight_onnx.job import Job
from pilotlight_onnx.runner import Runner
from pilotlight_onnx.slots import Slots
from tests.backends.answer import DEADLINE, GREEDY
from tests.backends.onnx.fake_decoder import (
    END,
    VOCABULARY,
    FakeDecoder,
    Gate,
    UntilTerminated,
)

CHUNK = 8
CONTEXT = 1000


@pytest.fixture
def decoder():
    return FakeDecoder()


@pytest.fixture
def start(decoder):
    """Return a function that starts a runner's threads; they end with the test, and free all."""
    started = []

    def run(slots=1, *, reuse=True):
        places = Slots(slots, context_length=CONTEXT, reuse=reuse)
        ticks = itertools.count()
        runner = Runner(decoder, places, chunk=CHUNK, clock=lambda: float(next(ticks)))
        threads = [
            threading.Thread(target=runner.serve, args=(slot,), daemon=True) for slot in places.all
        ]
        for thread in threads:
            thread.start()
        started.append((runner, threads))
        return runner

    yield run
    for runner, threads in started:
        runner.stop()
        for thread in threads:
            thread.join(DEADLINE)
        assert not any(thread.is_alive() for thread in threads)
        assert decoder.closed
        assert runner.stats(kv_capacity=0).slots_busy == 0


class Client:
    """Submits one request, and keeps what it hears."""

    def __init__(self, runner, prompt, *, limit=100, emit=None, sampling=GREEDY, **fields):
        self.events = []
        self._emit = emit
        self._ended = threading.Event()
        self._heard = SimpleQueue()
        request = GenerateRequest(
            prompt=tuple(prompt), max_tokens=limit, sampling=sampling, **fields
        )
        self.ticket = Job(runner, request, self.hear, limit, ends=(END,))
        runner.submit(self.ticket)

    def hear(self, event):
        self.events.append(event)
        self._heard.put(event)
        try:
            if self._emit is not None:
                self._emit(self, event)
        finally:
            if isinstance(event, Finish | Failed):
                self._ended.set()

    def next(self):
        return self._heard.get(timeout=DEADLINE)

    @property
    def last(self):
        assert self._ended.wait(DEADLINE)
        return self.events[-1]

    @property
    def tokens(self):
        assert self.last
        return [event.id for event in self.events if isinstance(event, Token)]

    @property
    def kinds(self):
        assert self.last
        return [type(event) for event in self.events]


def fail(_generator):
    raise RuntimeError("out of luck")


# What a request is told.


def test_request_is_told_everything_in_order(start):
    """Started, the tokens with their bytes, and a finish that counts them."""
    client = Client(start(), [1, 2, 3], limit=3)
    assert client.last.reason == "length"
    assert client.events[:-1] == [
        Started(3, 0),
        Token(3, b"<3>"),
        Token(4, b"<4>"),
        Token(5, b"<5>"),
    ]
    usage = client.last.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (3, 3, 0)


@pytest.mark.parametrize("kind", ["end of generation", "stop token"])
def test_ending_token_is_counted_but_not_told(start, decoder, kind):
    """A token that ends the sequence is no part of the answer."""
    decoder.answers = [50, END if kind == "end of generation" else 77]
    client = Client(start(), [1], stop_token_ids=frozenset({77}))
    assert client.tokens == [50]
    assert client.last.reason == "stop"
    assert client.last.usage.completion_tokens == 2


def test_ignored_end_is_never_chosen(start, decoder):
    """The likeliest other token comes in its place; a stop token still ends."""
    decoder.answers = [END, END, 77]
    client = Client(start(), [1], ignore_eos=True, stop_token_ids=frozenset({77}))
    assert len(client.tokens) == 2
    assert END not in client.tokens
    assert client.last.reason == "stop"


def test_no_end_and_no_stop_before_min_tokens(start, decoder):
    """Both are left out of the choice until so many tokens have come."""
    decoder.answers = [END, 77, END]
    client = Client(start(), [1], min_tokens=2, stop_token_ids=frozenset({77}))
    assert len(client.tokens) == 2
    assert not {END, 77} & set(client.tokens)
    assert (client.last.reason, client.last.usage.completion_tokens) == ("stop", 3)


def test_logprobs_are_the_model_s_own(start):
    """Where they are asked for, they are of the logits before a bias or a penalty changes them."""
    sampling = SamplingParams(temperature=0.0, logit_bias={7: 50.0}, presence_penalty=2.0)
    runner = start()
    client = Client(runner, [1, 2], limit=2, sampling=sampling, logprobs=2)
    assert client.tokens == [7, 7]
    whole = math.log(math.e + VOCABULARY - 1)
    for length, event in zip([2, 3], client.events[1:3], strict=True):
        assert event.logprob == pytest.approx(-whole, abs=1e-5)
        assert [(one.id, one.piece) for one in event.candidates] == [
            (length, b"<%d>" % length),
            (0, b"<0>"),
        ]
        logprobs = [one.logprob for one in event.candidates]
        assert logprobs == pytest.approx([1 - whole, -whole], abs=1e-5)
    plain = Client(runner, [1, 2], limit=2, sampling=sampling)
    assert plain.tokens == [7, 7]
    assert plain.events[1] == Token(7, b"<7>")


def test_timings_tell_the_phases(start):
    """Queue, prefill and decoding are measured separately, and none is negative."""
    timings = Client(start(), range(1, 30), limit=2).last.timings
    assert timings.queue > 0
    assert timings.prefill > 0
    assert timings.decode > 0


def test_prompt_is_evaluated_in_chunks(start, decoder):
    """A long prompt takes several steps, and each answer's token but the last takes one."""
    client = Client(start(), range(1, 21), limit=3)
    assert client.tokens == [20, 21, 22]
    (generator,) = decoder.generators
    assert [len(tokens) for tokens in generator.appends] == [8, 8, 4, 1, 1]
    assert generator.held == [*range(1, 21), 20, 21]


def test_stats_add_up(start):
    """Totals count what was evaluated, reused and sampled."""
    runner = start()
    for _ in range(2):
        assert Client(runner, [1, 2, 3, 4], limit=2).last.reason == "length"
    stats = runner.stats(kv_capacity=64)
    assert (stats.prompt_tokens, stats.cached_tokens, stats.completion_tokens) == (6, 2, 4)
    assert (stats.kv_tokens, stats.kv_capacity, stats.slots) == (5, 64, 1)
    assert (stats.steps, stats.queued, stats.slots_busy) == (4, 0, 0)


def test_busy_and_waiting_are_counted(start, decoder):
    """A snapshot has the number of running and of waiting requests."""
    gate = Gate()
    decoder.next("append", gate)
    runner = start()
    clients = [Client(runner, [n + 1], limit=1) for n in range(3)]
    gate.wait()
    stats = runner.stats(kv_capacity=0)
    assert (stats.slots_busy, stats.queued) == (1, 2)
    gate.open()
    assert [client.last.reason for client in clients] == ["length"] * 3


# The order of starts.


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_requests_start_in_the_order_they_came(start, decoder, slots):
    """Requests do not overtake older ones, however many threads there are."""
    gates = [Gate() for _ in range(slots)]
    decoder.next("append", *gates)
    runner = start(slots)
    order = []

    def note(client, event):
        if isinstance(event, Started):
            order.append(client.ticket.prompt)

    clients = [Client(runner, [n + 1], limit=n % 4 + 1, emit=note) for n in range(30)]
    for gate in gates:
        gate.wait()
    assert len(order) == slots
    for gate in reversed(gates):
        gate.open()
    assert all(client.last.reason == "length" for client in clients)
    assert order == [(n + 1,) for n in range(30)]


def test_slots_work_side_by_side(start, decoder):
    """A slow request does not delay the response of another."""
    gate = Gate()
    decoder.next("append", gate)
    runner = start(2)
    slow = Client(runner, [1], limit=1)
    gate.wait()
    for _ in range(5):
        assert Client(runner, [2], limit=3).tokens == [1, 2, 3]
    assert [type(event) for event in slow.events] == [Started]
    gate.open()
    assert slow.tokens == [1]


def test_request_submitted_by_a_listener(start):
    """Who hears the end of an answer can ask again at once, on the engine's own thread."""
    runner = start()
    answers = SimpleQueue()

    def ask_again(_client, event):
        if isinstance(event, Finish):
            answers.put(Client(runner, [1, 2], limit=2))

    assert Client(runner, [1], limit=1, emit=ask_again).last.reason == "length"
    assert answers.get(timeout=DEADLINE).tokens == [2, 3]


# Cancelling.


def test_cancel_in_the_queue(start, decoder):
    """A cancelled request in the queue ends at the next step of any slot, and never starts."""
    first, second = Gate(), Gate()
    decoder.next("append", first)
    runner = start(2)
    one = Client(runner, [1], limit=50)
    first.wait()
    decoder.next("append", second)
    other = Client(runner, [2], limit=1)
    second.wait()
    waiting = [Client(runner, [n], limit=1) for n in (3, 4, 5)]
    waiting[1].ticket.cancel()
    first.open()
    assert waiting[1].kinds == [Finish]
    assert waiting[1].last.reason == "cancelled"
    assert waiting[1].last.usage.prompt_tokens == 1
    assert waiting[1].last.usage.completion_tokens == 0
    second.open()
    for client in (one, other, waiting[0], waiting[2]):
        assert client.last.reason == "length"


@pytest.mark.parametrize("obeys", [True, False])
def test_cancel_while_the_prompt_is_read(start, decoder, obeys):
    """The step under way is terminated, and its slot holds what it held before.

    So it is where the step was through before it could be terminated.
    """
    decoder.obeys = obeys
    place = UntilTerminated()
    decoder.next("append", None, place)
    runner = start()
    client = Client(runner, range(1, 100))
    place.wait()
    client.ticket.cancel()
    assert client.kinds == [Started, Finish]
    assert client.last.reason == "cancelled"
    assert client.last.usage.completion_tokens == 0
    (generator,) = decoder.generators
    held = len(generator.held)
    assert 0 < held < 99
    again = Client(runner, range(1, 100), limit=1)
    assert again.tokens == [99]
    assert again.last.usage.cached_tokens == held
    assert not generator.terminated.is_set()
    assert (len(decoder.generators), generator.held) == (1, list(range(1, 100)))


@pytest.mark.parametrize("fault", ["first step", "resume"])
def test_cancel_that_leaves_nothing(start, decoder, fault):
    """A slot that held nothing before, or that cannot be cut back, gets a new generator."""

    def refuse(_generator):
        raise RuntimeError("no")

    place = UntilTerminated()
    if fault == "resume":
        decoder.next("append", None)
        decoder.next("resume", refuse)
    decoder.next("append", place)
    runner = start()
    client = Client(runner, range(1, 100))
    place.wait()
    client.ticket.cancel()
    assert client.last.reason == "cancelled"
    again = Client(runner, range(1, 100), limit=1)
    assert (again.tokens, again.last.usage.cached_tokens) == ([99], 0)
    assert [generator.closed for generator in decoder.generators] == [True, False]


def test_cancel_in_the_prompt_s_last_step(start, decoder):
    """A cancel that comes when the prompt is nearly read leaves no generator terminated."""
    place = UntilTerminated()
    decoder.next("append", place)
    decoder.obeys = False
    runner = start()
    client = Client(runner, [1, 2, 3])
    place.wait()
    client.ticket.cancel()
    assert client.kinds == [Started, Finish]
    assert Client(runner, [1, 2, 3, 4], limit=1).last.usage.cached_tokens == 2
    (generator,) = decoder.generators
    assert not generator.terminated.is_set()


def test_cancel_while_a_generator_is_opened(start, decoder):
    """A request that is cancelled before it has a generator does not begin to read."""
    gate = Gate()
    decoder.next("open", gate)
    runner = start()
    client = Client(runner, [1, 2, 3])
    gate.wait()
    client.ticket.cancel()
    gate.open()
    assert client.kinds == [Started, Finish]
    assert decoder.generators[0].appends == []
    assert Client(runner, [1, 2, 3], limit=1).tokens == [3]


def test_cancel_in_the_answer_keeps_what_the_slot_holds(start, decoder):
    """No token follows but the one under way; prompt and answer are there for the next turn."""
    gate = Gate()
    decoder.next("append", None, gate)
    runner = start()
    client = Client(runner, [1, 2, 3])
    gate.wait()
    client.ticket.cancel()
    told = len(client.events)
    gate.open()
    assert client.last.reason == "cancelled"
    assert len(client.events) <= told + 2
    (generator,) = decoder.generators
    assert not generator.terminated.is_set()
    assert not generator.closed
    again = Client(runner, [1, 2, 3, 3, 9, 9], limit=1)
    assert again.last.usage.cached_tokens == 4
    assert decoder.generators == [generator]
    assert generator.held == [1, 2, 3, 3, 9, 9]


@pytest.mark.parametrize("kind", [Started, Token])
def test_cancel_by_the_listener_itself(start, decoder, kind):
    """As for a stop string: the listener cancels while it handles an event."""

    def cancel(client, event):
        if isinstance(event, kind):
            client.ticket.cancel()

    runner = start()
    client = Client(runner, [1, 2], emit=cancel)
    assert client.last.reason == "cancelled"
    assert client.tokens == ([] if kind is Started else [2])
    assert not any(generator.terminated.is_set() for generator in decoder.generators)
    assert Client(runner, [1, 2], limit=1).tokens == [2]


def test_a_cancelled_request_does_not_take_over_what_its_slot_held(start):
    """Those tokens are of another scope: its own next request must not find them."""

    def cancel(client, event):
        if isinstance(event, Started):
            client.ticket.cancel()

    runner = start()
    prompt = [1, 2, 3, 4, 5]
    assert Client(runner, prompt, limit=1, scope="theirs").tokens == [5]
    assert Client(runner, [9], scope="ours", emit=cancel).last.reason == "cancelled"
    again = Client(runner, prompt, limit=1, scope="ours")
    assert again.tokens == [5]
    assert again.events[0] == Started(5, 0)


def test_cancel_twice_and_after_the_end(start, decoder):
    """The last event comes once, and who has the slot next hears nothing of it."""
    runner = start()
    client = Client(runner, [1], limit=1)
    assert client.last.reason == "length"
    client.ticket.cancel()
    place = Gate()
    decoder.next("append", place)
    other = Client(runner, [1, 2], limit=2)
    place.wait()
    client.ticket.cancel()
    place.open()
    assert other.tokens == [2, 3]
    assert client.kinds == [Started, Token, Finish]
    assert not any(generator.terminated.is_set() for generator in decoder.generators)


def test_cancel_does_not_terminate_a_neighbour(start, decoder):
    """While two prompts are read, only the one that is cancelled ends."""
    mine, theirs = UntilTerminated(), Gate()
    runner = start(2)
    decoder.next("append", mine)
    client = Client(runner, [1])
    mine.wait()
    decoder.next("append", theirs)
    other = Client(runner, [2], limit=1)
    theirs.wait()
    client.ticket.cancel()
    assert client.last.reason == "cancelled"
    theirs.open()
    assert other.tokens == [1]
    assert [generator.closed for generator in decoder.generators] == [True, False]


# Failures.


@pytest.mark.parametrize("call", ["open", "append", "logits", "piece"])
def test_failure_fails_only_its_own_request(start, decoder, caplog, call):
    """Whatever fails, the others go on, and the slot serves the next from a new generator."""
    gate = Gate()
    decoder.next("append", gate)
    runner = start(2)
    neighbour = Client(runner, [1], limit=3)
    gate.wait()
    decoder.next(call, fail)
    with caplog.at_level(logging.ERROR):
        victim = Client(runner, [2, 3])
        assert isinstance(victim.last, Failed)
    assert isinstance(victim.last.error, InferenceFailed)
    assert "out of luck" in str(victim.last.error)
    assert caplog.records[0].exc_info is not None
    assert victim.kinds == [Started, Failed]
    again = Client(runner, [2, 3], limit=2)
    assert again.tokens == [2, 3]
    assert again.last.usage.cached_tokens == 0
    gate.open()
    assert neighbour.tokens == [1, 2, 3]
    stats = runner.stats(kv_capacity=0)
    assert (stats.slots_busy, stats.queued) == (0, 0)


@pytest.mark.parametrize("call", ["append", "logits"])
def test_failure_in_the_answer(start, decoder, caplog, call):
    """Tokens that were emitted stay; the slot's tokens are gone with its generator."""
    decoder.next(call, None, fail)
    runner = start()
    with caplog.at_level(logging.ERROR):
        victim = Client(runner, [1, 2, 3])
        assert victim.kinds == [Started, Token, Failed]
    again = Client(runner, [1, 2, 3, 3, 4], limit=1)
    assert again.last.usage.cached_tokens == 0
    assert [generator.closed for generator in decoder.generators] == [True, False]


def test_failure_to_cut_back(start, decoder, caplog):
    """A sequence that cannot be cut back after all is given up, with its request."""
    runner = start()
    assert Client(runner, [1, 2, 3], limit=1).last.reason == "length"
    decoder.next("rewind", fail)
    with caplog.at_level(logging.ERROR):
        victim = Client(runner, [1, 2, 9], limit=1)
        assert isinstance(victim.last, Failed)
    again = Client(runner, [1, 2, 9], limit=1)
    assert again.last.usage.cached_tokens == 0
    assert decoder.generators[-1].held == [1, 2, 9]


def test_failure_to_open_again_and_again(start, decoder, caplog):
    """Without room for a generator each request fails, and none waits for it."""
    decoder.next("open", *[fail] * 4)
    runner = start(2)
    with caplog.at_level(logging.ERROR):
        clients = [Client(runner, [n + 1], limit=1) for n in range(4)]
        assert all(isinstance(client.last.error, InferenceFailed) for client in clients)
    assert Client(runner, [1], limit=1).tokens == [1]
    assert runner.stats(kv_capacity=0).kv_tokens == 1


def test_logits_that_are_no_numbers(start, decoder, caplog):
    """A model gone wrong fails the request with the reason, and is asked anew by the next."""
    runner = start()
    broken = np.full(VOCABULARY, np.nan, dtype=np.float32)

    def break_logits(generator):
        generator.logits = lambda: broken

    decoder.next("append", break_logits)
    with caplog.at_level(logging.ERROR):
        victim = Client(runner, [1], sampling=SamplingParams(seed=1))
        assert isinstance(victim.last, Failed)
    assert isinstance(victim.last.error, InferenceFailed)
    assert "not finite" in str(victim.last.error)
    assert Client(runner, [1], limit=1).tokens == [1]


@pytest.mark.parametrize("kind", [Started, Token, Finish])
def test_listener_that_raises_ends_its_own_request(start, decoder, caplog, kind):
    """What a listener raises is logged with its traceback, and affects no other request."""

    def deaf(_client, event):
        if type(event) is kind:
            raise RuntimeError("no ears")

    gate = Gate()
    decoder.next("append", gate)
    runner = start(2)
    neighbour = Client(runner, [1], limit=4)
    gate.wait()
    with caplog.at_level(logging.ERROR):
        client = Client(runner, [2, 3], limit=5, emit=deaf)
        assert client.last.reason == ("length" if kind is Finish else "cancelled")
        assert Client(runner, [2, 3], limit=1).tokens == [2]
    assert caplog.records[0].exc_info is not None
    assert sum(isinstance(event, Finish | Failed) for event in client.events) == 1
    gate.open()
    assert neighbour.tokens == [1, 2, 3, 4]


def test_listener_that_raises_at_everything(start, caplog):
    """Even its last event does no harm to the thread."""

    def deaf(_client, _event):
        raise RuntimeError("no ears")

    runner = start()
    with caplog.at_level(logging.ERROR):
        client = Client(runner, [1], emit=deaf)
        assert client.kinds == [Started, Finish]
        assert Client(runner, [1], limit=1).tokens == [1]


# Reuse.


def test_next_turn_of_a_conversation(start, decoder):
    """What the slot holds is not evaluated again; only what is new is."""
    runner = start()
    assert Client(runner, [1, 2, 3], limit=3).tokens == [3, 4, 5]
    second = Client(runner, [1, 2, 3, 3, 4, 5, 6, 7], limit=1)
    assert second.last.usage.cached_tokens == 5
    assert second.events[0] == Started(8, 5)
    (generator,) = decoder.generators
    assert generator.appends[-1] == (5, 6, 7)


def test_prompt_that_parts_from_what_is_held(start, decoder):
    """The sequence is cut back to what both share, and goes on from there."""
    runner = start()
    assert Client(runner, [1, 2, 3, 4], limit=3).last.reason == "length"
    second = Client(runner, [1, 2, 8, 9], limit=2)
    assert second.tokens == [4, 5]
    assert second.last.usage.cached_tokens == 2
    (generator,) = decoder.generators
    assert generator.rewinds == [2]
    assert generator.held == [1, 2, 8, 9, 4]
    assert runner.stats(kv_capacity=0).kv_tokens == 5


def test_same_prompt_again_evaluates_its_last_tokens(start, decoder):
    """The logits after them choose the first token; one alone would be rounded otherwise."""
    runner = start()
    answers = [Client(runner, [5, 6, 7], limit=2).tokens for _ in range(3)]
    assert answers == [[3, 4]] * 3
    (generator,) = decoder.generators
    assert generator.appends == [(5, 6, 7), (3,), (6, 7), (3,), (6, 7), (3,)]


def test_model_that_cannot_rewind_starts_anew(start, decoder):
    """A recurrent model reuses nothing, and reports that; one sequence is freed before the next."""
    runner = start(reuse=False)
    for _ in range(2):
        client = Client(runner, [1, 2, 3], limit=1)
        assert client.last.usage.cached_tokens == 0
    assert [generator.closed for generator in decoder.generators] == [True, False]
    assert all(generator.rewinds == [] for generator in decoder.generators)


def test_stranger_to_the_slot_gets_a_new_generator(start, decoder):
    """Where nothing is shared, the old cache is freed before the new one is made."""
    runner = start()
    assert Client(runner, [1, 2], limit=1).last.reason == "length"
    seen = []
    decoder.next("open", lambda _none: seen.extend(g.closed for g in decoder.generators))
    assert Client(runner, [7, 8], limit=1).last.reason == "length"
    assert seen == [True]


def test_room_is_rounded_up_and_outgrown(start, decoder):
    """A cache has room for a few turns; a turn that needs more gets a larger one, and all anew."""
    runner = start()
    assert Client(runner, range(1, 101), limit=100).last.reason == "length"
    assert Client(runner, range(1, 151), limit=100).last.usage.cached_tokens == 100
    assert Client(runner, range(1, 201), limit=57).last.usage.cached_tokens == 0
    assert Client(runner, range(1, 501), limit=500).last.usage.cached_tokens == 0
    assert [generator.room for generator in decoder.generators] == [256, 512, CONTEXT]


def test_conversations_keep_to_their_slots(start, decoder):
    """Two that take turns each continue where they were."""
    runner = start(2)
    one, other = [1, 1, 1], [2, 2, 2]
    for turn in range(4):
        for words in (one, other):
            client = Client(runner, words, limit=2)
            cached = client.last.usage.cached_tokens
            assert cached == (len(words) - 2 if turn else 0)
            words += [*client.tokens, 9]
    assert len(decoder.generators) == 2


# The end.


def test_stop_while_idle(start, decoder):
    """Threads that wait end, and the last of them frees the model, after its generators."""
    runner = start(3)
    assert Client(runner, [1], limit=1).tokens == [1]
    runner.stop()
    runner.stop()
    with pytest.raises(EngineClosed):
        Client(runner, [1])
    assert decoder.generators


def test_stop_during_work(start, decoder):
    """Who reads, who answers and who waits hear it; a prompt's reading is terminated."""
    reading, answering = UntilTerminated(), Gate()
    runner = start(2)
    decoder.next("append", None, answering)
    answers = Client(runner, [1])
    answering.wait()
    decoder.next("append", reading)
    reads = Client(runner, range(2, 50))
    reading.wait()
    waits = [Client(runner, [n]) for n in (60, 61, 62)]
    waits[1].ticket.cancel()
    runner.stop()
    assert isinstance(reads.last.error, EngineClosed)
    answering.open()
    assert isinstance(answers.last.error, EngineClosed)
    assert isinstance(waits[0].last.error, EngineClosed)
    assert isinstance(waits[2].last.error, EngineClosed)
    assert waits[1].last.reason == "cancelled"
    assert all(client.kinds in ([Failed], [Finish]) for client in waits)
    assert not decoder.generators[0].terminated.is_set()


def test_stop_while_a_generator_is_opened(start, decoder):
    """A request that has none yet does not begin to read."""
    gate = Gate()
    decoder.next("open", gate)
    runner = start()
    client = Client(runner, [1, 2, 3])
    gate.wait()
    runner.stop()
    gate.open()
    assert isinstance(client.last.error, EngineClosed)
    assert decoder.generators[0].appends == []


@pytest.mark.parametrize("kind", [Started, Token])
def test_stop_by_a_listener(start, kind):
    """Closed on its own thread, the engine ends without waiting for itself."""
    runner = start(2)

    def stop(_client, event):
        if isinstance(event, kind):
            runner.stop()

    assert isinstance(Client(runner, [1], emit=stop).last.error, EngineClosed)


def test_answer_that_ends_while_the_engine_stops(start, decoder):
    """A request whose last token is there has its answer, not a failure."""
    gate = Gate()
    decoder.next("logits", gate)
    runner = start()
    client = Client(runner, [1], limit=1)
    gate.wait()
    runner.stop()
    gate.open()
    assert client.tokens == [1]
    assert client.last.reason == "length"


def test_two_hundred_requests_leave_nothing_behind(start, decoder):
    """Whatever becomes of them, no slot and no queue entry stays, and each ends once."""
    runner = start(3)
    clients = [Client(runner, [n % 7 + 1] * (n % 20 + 1), limit=n % 9 + 1) for n in range(200)]
    for client in clients[::5]:
        client.ticket.cancel()
    assert all(client.last.reason in {"length", "cancelled"} for client in clients)
    for client in clients:
        assert sum(isinstance(event, Finish | Failed) for event in client.events) == 1
    stats = runner.stats(kv_capacity=0)
    assert (stats.slots_busy, stats.queued) == (0, 0)
    assert sum(not generator.closed for generator in decoder.generators) <= 3


def test_failure_that_meets_a_cancel(start, decoder):
    """A step that failed leaves no generator behind, even where its request was ending anyway."""
    runner = start()

    def cancel_and_fail(_generator):
        client.ticket.cancel()
        raise RuntimeError("out of luck")

    gate = Gate()
    decoder.next("append", gate, cancel_and_fail)
    client = Client(runner, [1, 2, 3])
    gate.open()
    assert client.last.reason == "cancelled"
    assert Client(runner, [1, 2, 3, 3, 4], limit=1).last.usage.cached_tokens == 0
    assert [generator.closed for generator in decoder.generators] == [True, False]


def test_cancel_at_the_start_costs_nothing(start):
    """A request that is cancelled as it starts takes nothing from the slot that it was given."""
    runner = start()
    assert Client(runner, [1, 2, 3], limit=1).last.reason == "length"

    def cancel(client, event):
        if isinstance(event, Started):
            client.ticket.cancel()

    assert Client(runner, [7, 8], emit=cancel).last.reason == "cancelled"
    assert Client(runner, [1, 2, 3, 4, 5], limit=1).last.usage.cached_tokens == 3


# Sharing a prompt.


def sharers(runner, count, **fields):
    return [
        Client(runner, range(1, 21), limit=3, shares_prompt=True, **fields) for _ in range(count)
    ]


def test_shared_prompt_is_evaluated_once(start, decoder):
    """Requests with one prompt follow each other in the slot of the first; others pass by."""
    gate = Gate()
    decoder.next("append", gate)
    runner = start(3)
    first, *others = clients = sharers(runner, 3)
    gate.wait()
    assert Client(runner, [50], limit=2).tokens == [1, 2]
    assert [client.events for client in others] == [[], []]
    assert (runner.stats(kv_capacity=0).slots_busy, runner.stats(kv_capacity=0).queued) == (1, 2)
    gate.open()
    assert [client.tokens for client in clients] == [[20, 21, 22]] * 3
    assert [client.last.usage.cached_tokens for client in clients] == [0, 18, 18]
    assert runner.stats(kv_capacity=0).prompt_tokens == 20 + 2 + 2 + 1
    assert first.last.timings.queue < others[0].last.timings.queue < others[1].last.timings.queue
    assert len(decoder.generators) == 2


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_cancelled_reader_leaves_the_prompt_to_the_next(start, decoder, slots):
    """Whichever slot is idle then, its thread takes the next sharer, and no one is forgotten."""
    place = UntilTerminated()
    decoder.next("append", None, place)
    runner = start(slots)
    first, *others = sharers(runner, 4)
    place.wait()
    first.ticket.cancel()
    assert first.last.reason == "cancelled"
    assert [client.tokens for client in others] == [[20, 21, 22]] * 3
    assert [client.last.usage.cached_tokens for client in others] == [8, 18, 18]


def test_failed_reader_leaves_the_prompt_to_an_idle_slot(start, decoder, caplog):
    """Its failure is its own; the thread of an unused slot sleeps, and is woken for the next."""
    gate = Gate()

    def fail_late(generator):
        gate(generator)
        fail(generator)

    decoder.next("append", fail_late)
    runner = start(3)
    first, *others = sharers(runner, 3)
    gate.wait()
    assert Client(runner, [50], limit=1).tokens == [1]
    with caplog.at_level(logging.CRITICAL):
        gate.open()
        assert isinstance(first.last.error, InferenceFailed)
    assert [client.tokens for client in others] == [[20, 21, 22]] * 2


def test_sharer_that_waits_is_cancelled(start, decoder):
    """It ends at once, while the prompt is still being read."""
    gate = Gate()
    decoder.next("append", gate)
    first, second, third = sharers(start(2), 3)
    gate.wait()
    second.ticket.cancel()
    assert second.kinds == [Finish]
    gate.open()
    assert first.tokens == third.tokens == [20, 21, 22]


def test_stop_ends_sharers_that_wait(start, decoder):
    """They hear it, and the threads end."""
    place = UntilTerminated()
    decoder.next("append", place)
    runner = start(2)
    first, *others = sharers(runner, 4)
    place.wait()
    runner.stop()
    for client in (first, *others):
        assert isinstance(client.last.error, EngineClosed)
    assert [len(client.events) for client in others] == [1, 1, 1]


def test_sharers_read_for_themselves_without_reuse(start):
    """If a generator cannot be truncated, nothing is cached, and no request waits."""
    clients = sharers(start(2, reuse=False), 3)
    assert [client.tokens for client in clients] == [[20, 21, 22]] * 3
    assert [client.last.usage.cached_tokens for client in clients] == [0, 0, 0]
