"""The steps of the engine's thread, taken by hand on a fake context."""

import itertools
import logging
import re
import threading
from array import array

import pytest

from pilotlight_backend import (
    EngineClosed,
    Failed,
    Finish,
    GenerateRequest,
    GuideFailed,
    InferenceFailed,
    SamplingParams,
    Started,
    Timings,
    Token,
    Vocabulary,
)
from pilotlight_backend import Forced as MustCome
from pilotlight_backend.forcing import Forcing
from pilotlight_backend.prompt_cache import Found, Snapshot
from pilotlight_backend.prompt_cache.entry import Entry
from pilotlight_backend.spelling import Spelling
from pilotlight_llama_cpp.batch import Decoded
from pilotlight_llama_cpp.generation_job import GenerationJob
from pilotlight_llama_cpp.generation_thread import GenerationThread
from pilotlight_llama_cpp.scheduler import Scheduler
from tests.backends.llama_cpp.fake_decoder import END, FakeDecoder

CHUNK = 8
NAMES = tuple(b"<%d>" % token for token in range(200))
BYTES = tuple(bytes([byte]) for byte in range(256))
SPELLING = Spelling(
    Vocabulary(NAMES + BYTES, frozenset({END})),
    lambda text: [
        int(name) if name else len(NAMES) + ord(byte)
        for name, byte in re.findall(r"<(\d+)>|([\0-\xff])", text)
    ],
)
"""Every token of the fake decoder is a text of its own, which no other token continues."""


@pytest.fixture
def decoder():
    return FakeDecoder()


@pytest.fixture
def runner(decoder):
    ticks = itertools.count()
    return GenerationThread(
        decoder, Scheduler(slots=2, chunk=CHUNK), clock=lambda: float(next(ticks))
    )


class Client:
    """Submits one request, and keeps what it hears."""

    def __init__(self, runner, prompt, *, limit=100, emit=None, **fields):
        self.events = []
        self.emit = emit
        request = GenerateRequest(prompt=tuple(prompt), max_tokens=limit, **fields)
        forcing = Forcing.of(request, SPELLING)
        self.ticket = GenerationJob(runner, request, self.hear, limit, ends=(END,), forcing=forcing)
        runner.submit(self.ticket)

    def hear(self, event):
        self.events.append(event)
        if self.emit is not None:
            self.emit(event)

    @property
    def tokens(self):
        return [event.id for event in self.events if isinstance(event, Token)]

    @property
    def last(self):
        return self.events[-1] if self.events else None


def run_out(runner, *clients):
    """Step until all *clients* heard their last event."""
    for _ in range(1000):
        if all(isinstance(client.last, Finish | Failed) for client in clients):
            return
        runner.step()
    raise TimeoutError("a request does not end")


def test_request_is_told_everything_in_order(runner):
    """Started, the tokens with their bytes, and a finish that counts them."""
    client = Client(runner, [1, 2, 3], limit=3)
    run_out(runner, client)
    assert client.events[:4] == [
        Started(3, 0),
        Token(3, b"<3>"),
        Token(4, b"<4>"),
        Token(5, b"<5>"),
    ]
    assert client.last.reason == "length"
    assert client.last.usage.completion_tokens == 3


@pytest.mark.parametrize("kind", ["end of generation", "stop token"])
def test_ending_token_is_counted_but_not_told(runner, decoder, kind):
    """A token that ends the sequence is no part of the answer."""
    ending = END if kind == "end of generation" else 77
    decoder.answers = [50, ending]
    client = Client(runner, [1], stop_token_ids=frozenset({77}))
    run_out(runner, client)
    assert client.tokens == [50]
    assert client.last.reason == "stop"
    assert client.last.usage.completion_tokens == 2


def test_ignored_end_is_withheld_from_every_choice(runner, decoder):
    """With ignore_eos the end is left out of each row; one that a guide forces still ends."""
    decoder.answers = [50, 51, END]
    client = Client(runner, [1], ignore_eos=True)
    run_out(runner, client)
    assert decoder.withheld == [(END,)] * 3
    assert client.tokens == [50, 51]
    assert client.last.reason == "stop"


def test_ends_and_stops_are_withheld_until_min_tokens(runner, decoder):
    """Neither an end nor a stop token may be chosen before so many tokens have come."""
    decoder.answers = [50, 51, 77]
    client = Client(runner, [1], min_tokens=2, stop_token_ids=frozenset({77}))
    run_out(runner, client)
    assert decoder.withheld == [(END, 77)] * 2
    assert client.tokens == [50, 51]
    assert client.last.reason == "stop"


def test_timings_tell_the_phases(runner):
    """Queue, prefill and decoding are measured separately, and none is negative."""
    client = Client(runner, range(1, 30), limit=2)
    run_out(runner, client)
    timings = client.last.timings
    assert timings.queue > 0
    assert timings.prefill > 0
    assert timings.decode > 0


def test_cancel_in_the_queue(runner):
    """A request that waits is gone at the next step, and was never started."""
    clients = [Client(runner, [n + 1]) for n in range(3)]
    runner.step()
    clients[2].ticket.cancel()
    runner.step()
    assert [type(event) for event in clients[2].events] == [Finish]
    assert clients[2].last.reason == "cancelled"
    assert clients[2].last.usage.prompt_tokens == 1


def test_cancel_in_the_prompt(runner, decoder):
    """A prompt leaves at the next chunk, and its slot is free for the next request."""
    client = Client(runner, range(1, 100))
    runner.step()
    client.ticket.cancel()
    decoder.batches.clear()
    runner.step()
    assert client.last.reason == "cancelled"
    assert decoder.batches == []
    assert runner.stats(kv_capacity=0).slots_busy == 0


def test_cancel_in_the_answer(runner):
    """No token follows a cancel but the one that was on its way."""
    client = Client(runner, [1])
    runner.step()
    runner.step()
    client.ticket.cancel()
    told = len(client.tokens)
    runner.step()
    assert len(client.tokens) == told
    assert client.last.reason == "cancelled"


def test_cancel_by_the_listener_itself(runner):
    """As for a stop string: the listener cancels while it handles a token."""
    client = Client(runner, [1])
    client.emit = lambda _event: client.ticket.cancel() if client.tokens else None
    run_out(runner, client)
    assert len(client.tokens) == 1
    assert client.last.reason == "cancelled"


def test_cancel_twice_and_after_the_end(runner):
    """The last event comes once, however often one cancels."""
    client = Client(runner, [1], limit=1)
    run_out(runner, client)
    client.ticket.cancel()
    client.ticket.cancel()
    runner.step()
    assert sum(isinstance(event, Finish | Failed) for event in client.events) == 1


def test_cancel_before_the_first_step(runner, decoder):
    """A request that is cancelled as soon as it was submitted costs nothing."""
    client = Client(runner, [1])
    client.ticket.cancel()
    runner.step()
    assert client.last.reason == "cancelled"
    assert decoder.batches == []


def test_samplers_are_closed_however_a_request_ends(runner, decoder):
    """Length, stop, cancel and failure each give the sampler back."""
    decoder.answers = [END]
    run_out(runner, Client(runner, [1]))
    run_out(runner, Client(runner, [2], limit=1))
    cancelled = Client(runner, [3])
    runner.step()
    cancelled.ticket.cancel()
    run_out(runner, cancelled)
    decoder.outcomes = [Decoded.BROKEN]
    run_out(runner, Client(runner, [4]))
    assert decoder.open_samplers == 0


def test_slot_that_cannot_be_truncated_is_evaluated_anew(runner, decoder):
    """A recurrent model reuses nothing of a prompt that differs, and reports no cached tokens."""
    decoder.truncates = False
    first = Client(runner, [1, 2, 3, 4], limit=2)
    run_out(runner, first)
    second = Client(runner, [1, 2, 9, 9], limit=1)
    run_out(runner, second)
    assert second.events[0] == Started(4, 0)
    assert second.last.usage.cached_tokens == 0
    assert decoder.batches[-1] == [(0, 0, (1, 2, 9, 9))]


def test_broken_decode_fails_its_requests_and_no_later_one(runner, decoder):
    """A decode that fails ends the requests in the batch; the engine goes on from a clean slot."""
    running = Client(runner, [1, 2, 3])
    runner.step()
    decoder.outcomes = [Decoded.BROKEN]
    runner.step()
    assert isinstance(running.last.error, InferenceFailed)
    again = Client(runner, [1, 2, 3], limit=1)
    run_out(runner, again)
    assert again.last.reason == "length"
    assert again.last.usage.cached_tokens == 0


def test_full_cache_lets_go_of_idle_slots_first(runner, decoder):
    """Without room, idle slots are freed before a request fails."""
    run_out(runner, Client(runner, [1, 2, 3], limit=1))
    decoder.outcomes = [Decoded.REFUSED]
    client = Client(runner, [7, 8], limit=1)
    run_out(runner, client)
    assert client.last.reason == "length"
    assert decoder.held[0] == [] or decoder.held[1] == []


def test_full_cache_fails_only_whom_it_is_too_small_for(runner, decoder):
    """A request that finds no room leaves the others running."""
    small = Client(runner, [1], limit=5)
    large = Client(runner, [2, 3, 4])

    def refuse_large(runs):
        long = any(len(run.tokens) > 1 for run in runs)
        return Decoded.REFUSED if long else Decoded.DONE

    decoder.outcomes = [refuse_large] * 10
    run_out(runner, small, large)
    assert small.tokens == [1, 2, 3, 4, 5]
    assert isinstance(large.last.error, InferenceFailed)


def test_the_context_that_a_cached_prompt_waits_for_is_begun(runner, decoder):
    """Its own prompt would fit into the present one; streams go on meanwhile."""
    decoder.room = 100
    running = Client(runner, [9], limit=5)
    runner.step()
    cached = Client(runner, range(1, 91), limit=5)
    tokens = array("i", [*range(1, 81), *range(500, 600)])
    entry = Entry(seed=b"", tokens=tokens, least=1, size=10)
    cached.ticket.stored = Found(entry, Snapshot(b""), 80, "memory")
    runner.step()
    assert decoder.expected == [1, 90, 181]
    assert (len(running.tokens), cached.events) == (2, [])


def test_context_that_cannot_grow_fails_the_long_request_alone(decoder):
    """Its error says so. Idle slots keep what they hold: that is no room for another slot."""
    runner = GenerationThread(decoder, Scheduler(slots=3, chunk=CHUNK))
    run_out(runner, Client(runner, [9, 8, 7], limit=1))
    small = Client(runner, [1], limit=5)
    large = Client(runner, [2, 3, 4, 5])

    def refuse_large(runs):
        long = any(run.start + len(run.tokens) > 3 for run in runs if run.tokens[0] == 2)
        return Decoded.TOO_SHORT if long else Decoded.DONE

    decoder.outcomes = [refuse_large] * 10
    run_out(runner, small, large)
    assert small.tokens == [1, 2, 3, 4, 5]
    assert isinstance(large.last.error, InferenceFailed)
    assert str(large.last.error) == "the context cannot grow"
    assert [9, 8, 7] in decoder.held.values()


def test_listener_that_fails_ends_its_own_request(runner, decoder, caplog):
    """What a listener raises is logged with its traceback, and affects no other request."""

    def fail(_event):
        raise RuntimeError("no ears")

    deaf = Client(runner, [1], emit=fail)
    other = Client(runner, [2], limit=4)
    with caplog.at_level(logging.ERROR):
        run_out(runner, deaf, other)
    assert deaf.last.reason == "cancelled"
    assert other.tokens == [1, 2, 3, 4]
    assert caplog.records[0].exc_info is not None
    assert decoder.open_samplers == 0


def test_two_hundred_requests_leave_nothing_behind(runner, decoder):
    """Whatever becomes of them, no slot, sampler or queue entry stays."""
    clients = [Client(runner, [n % 7 + 1] * (n % 20 + 1), limit=n % 9 + 1) for n in range(200)]
    for client in clients[::5]:
        client.ticket.cancel()
    run_out(runner, *clients)
    stats = runner.stats(kv_capacity=0)
    assert (stats.slots_busy, stats.queued, decoder.open_samplers) == (0, 0, 0)


def test_stats_add_up(runner):
    """Totals count what was evaluated, reused and sampled."""
    run_out(runner, Client(runner, [1, 2, 3, 4], limit=2))
    run_out(runner, Client(runner, [1, 2, 3, 4], limit=2))
    stats = runner.stats(kv_capacity=64)
    assert (stats.prompt_tokens, stats.cached_tokens, stats.completion_tokens) == (5, 3, 4)
    assert (stats.kv_tokens, stats.kv_capacity, stats.slots) == (5, 64, 2)


def test_stop_fails_all_and_frees_the_context(runner, decoder):
    """Those that run and those that wait hear that the engine was closed."""
    clients = [Client(runner, [n + 1]) for n in range(4)]
    runner.step()
    runner.stop()
    runner.run()
    assert all(isinstance(client.last.error, EngineClosed) for client in clients)
    assert decoder.closed
    assert decoder.open_samplers == 0
    with pytest.raises(EngineClosed):
        Client(runner, [1])


def test_thread_survives_a_step_that_raises(runner, decoder, caplog):
    """An unforeseen fault fails the requests of the step; the thread serves the next one."""

    def fail(_runs):
        raise RuntimeError("unforeseen")

    decoder.outcomes = [fail]
    thread = threading.Thread(target=runner.run)
    ended = threading.Event()
    with caplog.at_level(logging.ERROR):
        Client(runner, [1], emit=lambda event: ended.set() if isinstance(event, Failed) else None)
        thread.start()
        assert ended.wait(10)
        ended.clear()
        Client(runner, [1], limit=1, emit=lambda e: ended.set() if isinstance(e, Finish) else None)
        assert ended.wait(10)
    runner.stop()
    thread.join(10)
    assert not thread.is_alive()


def with_baked(decoder, prompt):
    """Return a runner whose first slot holds *prompt*, as a load leaves it."""
    decoder.baked = prompt
    decoder.held[0] = list(prompt)
    return GenerationThread(decoder, Scheduler(slots=2, chunk=CHUNK, baked=prompt))


def test_baked_prompt_is_put_into_the_slots_that_lack_it(decoder):
    """Of two requests the first finds it in its slot; both evaluate what follows alone."""
    runner = with_baked(decoder, (1, 2, 3))
    clients = [Client(runner, (1, 2, 3, tail), limit=1) for tail in (4, 5)]
    run_out(runner, *clients)
    assert decoder.restored == [1]
    assert decoder.batches[0] == [(0, 3, (4,)), (1, 3, (5,))]
    assert [client.last.usage.cached_tokens for client in clients] == [3, 3]


def test_baked_prompt_that_cannot_be_put_back_is_evaluated(decoder):
    """Where the context refuses it the request starts over, and says that nothing was cached."""
    runner = with_baked(decoder, (1, 2, 3))
    decoder.restores = False
    clients = [Client(runner, (1, 2, 3, tail), limit=1) for tail in (4, 5)]
    run_out(runner, *clients)
    assert decoder.batches[:2] == [[(0, 3, (4,))], [(1, 0, (1, 2, 3, 5))]]
    assert [client.events[0] for client in clients] == [Started(4, 3), Started(4, 0)]


@pytest.fixture
def sharing(decoder):
    """Return a runner of three slots that can be copied."""
    ticks = itertools.count()
    return GenerationThread(
        decoder, Scheduler(slots=3, chunk=CHUNK, copies=True), clock=lambda: float(next(ticks))
    )


def sharers(runner, count, prompt=range(1, 21), limit=3):
    return [Client(runner, prompt, limit=limit, shares_prompt=True) for _ in range(count)]


def test_shared_prompt_is_evaluated_once(sharing, decoder):
    """Waiting sharers start when the prompt is evaluated, and report their cached tokens."""
    first, *others = clients = sharers(sharing, 3)
    sharing.step()
    assert first.events == [Started(20, 0)]
    assert [client.events for client in others] == [[], []]
    stats = sharing.stats(kv_capacity=0)
    assert (stats.slots_busy, stats.queued) == (3, 0)
    run_out(sharing, *clients)
    assert [client.events[0] for client in others] == [Started(20, 19)] * 2
    assert [client.tokens for client in clients] == [[20, 21, 22]] * 3
    stats = sharing.stats(kv_capacity=0)
    assert (stats.prompt_tokens, stats.cached_tokens) == (22, 38)
    assert [target for _, target, _ in decoder.copies] == [1, 2]


def test_waiting_for_a_shared_prompt_is_queueing(decoder):
    """The reader's steps through the prompt are no `prefill` of who waits for it."""
    runner = GenerationThread(
        decoder,
        Scheduler(slots=2, chunk=CHUNK, copies=True),
        clock=lambda: float(len(decoder.batches)),
    )
    first, second = sharers(runner, 2)
    run_out(runner, first, second)
    assert first.last.timings == Timings(queue=0, prefill=3, decode=2)
    assert second.last.timings == Timings(queue=3, prefill=1, decode=2)


def test_cancelled_reader_hands_over(sharing, decoder):
    """What it read is continued by the next one, in the same slot."""
    first, *others = sharers(sharing, 3)
    sharing.step()
    first.ticket.cancel()
    run_out(sharing, *others)
    assert first.last.reason == "cancelled"
    assert [client.events[0] for client in others] == [Started(20, 8), Started(20, 19)]
    assert [client.tokens for client in others] == [[20, 21, 22]] * 2
    assert sharing.stats(kv_capacity=0).prompt_tokens == 21
    assert decoder.open_samplers == 0


@pytest.mark.parametrize("outcome", [Decoded.BROKEN, RuntimeError("unforeseen")])
def test_failed_reader_hands_over(sharing, decoder, outcome, caplog):
    """Its failure is its own; another one reads the prompt from the start."""

    def fail(_runs):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    decoder.outcomes = [Decoded.DONE, fail]
    first, *others = sharers(sharing, 3)
    ended = threading.Event()
    others[1].emit = lambda event: ended.set() if isinstance(event, Finish) else None
    thread = threading.Thread(target=sharing.run)
    with caplog.at_level(logging.CRITICAL):
        thread.start()
        assert ended.wait(10)
    sharing.stop()
    thread.join(10)
    assert isinstance(first.last.error, InferenceFailed)
    assert [client.events[0] for client in others] == [Started(20, 0), Started(20, 19)]
    assert [client.tokens for client in others] == [[20, 21, 22]] * 2


def test_waiting_sharer_is_cancelled(sharing):
    """It hears of nothing but its end, and the others have their answers."""
    first, second, third = sharers(sharing, 3)
    sharing.step()
    second.ticket.cancel()
    run_out(sharing, first, second, third)
    assert [type(event) for event in second.events] == [Finish]
    assert second.last.reason == "cancelled"
    assert first.tokens == third.tokens == [20, 21, 22]


def test_stop_ends_those_who_wait_for_a_prompt(sharing, decoder):
    """In a slot, waiting for the prompt, or in the queue: each hears it once."""
    clients = sharers(sharing, 5)
    sharing.step()
    sharing.stop()
    sharing.run()
    assert all(isinstance(client.last.error, EngineClosed) for client in clients)
    assert [len(client.events) for client in clients] == [2, 1, 1, 1, 1]
    assert decoder.open_samplers == 0


def test_copy_that_fails_is_evaluated(sharing, decoder):
    """If nothing could be copied, the request evaluates its prompt, and reports that."""
    decoder.restores = False
    first, second = sharers(sharing, 2)
    run_out(sharing, first, second)
    assert second.events[0] == Started(20, 0)
    assert second.tokens == [20, 21, 22]


def test_more_sharers_than_slots(sharing):
    """Those who come later find the prompt in some slot, busy or idle."""
    clients = sharers(sharing, 20)
    run_out(sharing, *clients)
    assert [client.last.usage.cached_tokens for client in clients] == [0, *[19] * 19]
    assert all(client.tokens == [20, 21, 22] for client in clients)


# ── stopping a step ─────────────────────────────────────────────────────────────────────────────


def while_decoding(decoder, act, *, after=0):
    """Let *act* happen in the middle of a decode, the one after *after* others."""

    def outcome(_runs):
        act()
        return Decoded.DONE

    decoder.outcomes = [Decoded.DONE] * after + [outcome]


def test_cancel_stops_the_reading_of_a_prompt(runner, decoder):
    """The step ends, its slot holds what it held before, and the next request goes on there."""
    client = Client(runner, range(1, 30))
    while_decoding(decoder, client.ticket.cancel, after=1)
    run_out(runner, client)
    assert client.last.reason == "cancelled"
    assert decoder.recovered == [(0, 8)]
    again = Client(runner, range(1, 30), limit=2)
    run_out(runner, again)
    assert (again.last.usage.cached_tokens, again.tokens) == (8, [29, 30])


def test_cancel_stops_no_step_that_others_are_in(runner, decoder):
    """Short prompts share a step: it ends for those who stay, and stops once all are cancelled."""
    stays, leaves = Client(runner, [1, 2]), Client(runner, [3, 4])
    while_decoding(decoder, leaves.ticket.cancel)
    runner.step()
    assert (stays.tokens, decoder.recovered) == ([2], [])
    stays.ticket.cancel()
    run_out(runner, stays, leaves)
    both = Client(runner, [5, 6]), Client(runner, [7, 8])
    while_decoding(decoder, lambda: [one.ticket.cancel() for one in both])
    run_out(runner, *both)
    assert [client.last.reason for client in (stays, leaves, *both)] == ["cancelled"] * 4
    assert len(decoder.recovered) == 2


def test_cancel_lets_a_step_without_a_prompt_end(runner, decoder):
    """It is short, and each stop string ends a request in one."""
    client = Client(runner, [1])
    while_decoding(decoder, client.ticket.cancel, after=1)
    run_out(runner, client)
    assert (client.last.reason, client.tokens, decoder.recovered) == ("cancelled", [1, 2], [])


def test_stop_ends_the_step_under_way(runner, decoder):
    """Whatever its requests evaluate: each ends as closed."""
    clients = [Client(runner, [1]), Client(runner, range(1, 30)), Client(runner, [3])]
    while_decoding(decoder, runner.stop)
    runner.run()
    assert all(isinstance(client.last.error, EngineClosed) for client in clients)
    assert len(decoder.batches) == 1
    assert decoder.closed


def test_nothing_is_evaluated_for_who_left_before_the_step(runner, decoder):
    """A request that is cancelled as it starts is not read, and the flag is down for the next."""

    def leave(event):
        if isinstance(event, Started):
            client.ticket.cancel()

    client = Client(runner, range(1, 30), emit=leave)
    run_out(runner, client)
    assert (client.last.reason, decoder.batches) == ("cancelled", [])
    next_one = Client(runner, [5], limit=1)
    run_out(runner, next_one)
    assert next_one.tokens == [1]


def test_state_that_does_not_survive_is_read_again(runner, decoder):
    """A recurrent state that was advanced cannot be taken back: nothing of it is reused."""
    client = Client(runner, range(1, 30))
    while_decoding(decoder, client.ticket.cancel, after=1)
    decoder.truncates = False
    run_out(runner, client)
    again = Client(runner, range(1, 30), limit=1)
    run_out(runner, again)
    assert (again.last.usage.cached_tokens, again.tokens) == (0, [29])


def test_cancel_while_room_is_sought(runner, decoder):
    """A batch that was refused is taken apart, and the part of who left is dropped."""
    stream, prompt = Client(runner, [1], limit=3), Client(runner, range(1, 30))
    decoder.outcomes = [Decoded.REFUSED, lambda _: (prompt.ticket.cancel(), Decoded.DONE)[1]]
    run_out(runner, stream, prompt)
    assert (stream.tokens, prompt.last.reason) == ([1, 2, 3], "cancelled")
    assert isinstance(stream.last, Finish)


# ── samplers that take long to make ─────────────────────────────────────────────────────────────

DRY = SamplingParams(dry_multiplier=0.8)


def test_stream_goes_on_while_a_sampler_is_made(runner, decoder):
    """The request waits in the queue, and starts when another thread has made its sampler."""
    stream = Client(runner, [1])
    waiting = Client(runner, [2, 3], sampling=DRY, limit=2)
    for _ in range(5):
        runner.step()
    assert (stream.tokens, waiting.events) == ([1, 2, 3, 4, 5], [])
    assert runner.stats(kv_capacity=0).queued == 1
    decoder.make()
    run_out(runner, waiting)
    assert (waiting.events[0], waiting.tokens) == (Started(2, 0), [2, 3])
    assert (len(stream.tokens), runner.stats(kv_capacity=0).queued) == (6, 0)
    assert decoder.open_samplers == 1


def test_thread_that_sleeps_wakes_when_a_sampler_is_made(runner, decoder):
    """There is no other work, and nothing else would wake it."""
    ended, asked = threading.Event(), threading.Event()
    beside = decoder.sampler_beside
    decoder.sampler_beside = lambda *args: (beside(*args), asked.set())[0]
    Client(runner, [1], sampling=DRY, limit=1, emit=lambda e: isinstance(e, Finish) and ended.set())
    runner.start("model.gguf")
    assert asked.wait(10)
    decoder.make()
    assert ended.wait(10)
    runner.close()


@pytest.mark.parametrize("started", [False, True])
def test_cancel_while_a_sampler_is_made(runner, decoder, started):
    """The request ends at once; a sampler that comes too late is closed."""
    client = Client(runner, [1], sampling=DRY)
    runner.step()
    if started:
        decoder.making[0].set_running_or_notify_cancel()
    client.ticket.cancel()
    runner.step()
    assert [type(event) for event in client.events] == [Finish]
    assert decoder.making[0].cancelled() is not started
    if started:
        decoder.making[0].set_result(decoder.sampler(None, None))
    assert decoder.open_samplers == 0
    assert runner.stats(kv_capacity=0).queued == 0


def test_stop_while_a_sampler_is_made(runner, decoder):
    """It ends as those that run and those that wait for a slot."""
    client = Client(runner, [1], sampling=DRY)
    runner.step()
    runner.stop()
    runner.run()
    assert isinstance(client.last.error, EngineClosed)
    assert decoder.making[0].cancelled()


def test_sampler_that_cannot_be_made_fails_its_own_request(runner, decoder, caplog):
    """The stream beside it goes on, and so does the next request of its kind."""
    stream, client = Client(runner, [1]), Client(runner, [2], sampling=DRY)
    runner.step()
    decoder.making.pop().set_exception(MemoryError("no room"))
    with caplog.at_level(logging.CRITICAL):
        runner.step()
    assert isinstance(client.last.error, InferenceFailed)
    assert stream.tokens == [1, 2]
    again = Client(runner, [2], sampling=DRY, limit=1)
    runner.step()
    decoder.make()
    run_out(runner, again)
    assert again.tokens == [1]


def test_requests_that_share_a_prompt_wait_for_their_samplers(sharing, decoder):
    """They start in their order; the prompt is evaluated once."""
    clients = [
        Client(sharing, range(1, 21), limit=2, shares_prompt=True, sampling=DRY) for _ in range(3)
    ]
    sharing.step()
    for _ in clients:
        decoder.make()
    run_out(sharing, *clients)
    assert [client.last.usage.cached_tokens for client in clients] == [0, 19, 19]


class FakeGuide:
    """Forces tokens behind others, as *forced* says; allows everything."""

    def __init__(self, forced, *, broken=None):
        self.forced_behind = forced
        self.broken = broken
        self.accepted = []

    def restrict(self, _logits):
        raise AssertionError("the fake decoder has no logits")

    def accept(self, token):
        if token == self.broken:
            raise ArithmeticError
        self.accepted.append(token)

    def forced(self):
        last = self.accepted[-1] if self.accepted else None
        tokens = self.forced_behind.get(last, ())
        if tokens == (END,):
            return MustCome(end=True)
        return MustCome(b"".join(b"<%d>" % token for token in tokens))

    def admits(self, tokens):
        return len(tokens)


def sampled_by(decoder, guide):
    """Have *guide* accept what *decoder* samples, as the real one does."""
    sample = decoder.sample

    def accepted(sampler, row):
        token = sample(sampler, row)
        guide.accept(token)
        return token

    decoder.sample = accepted


def test_forced_tokens_are_evaluated_with_the_sampled_one(runner, decoder):
    """They are emitted at once, and their run is sampled at its end alone."""
    guide = FakeGuide({50: (60, 61)})
    sampled_by(decoder, guide)
    decoder.answers = [50, 51]
    client = Client(runner, [1, 2], limit=4, guide=guide)
    run_out(runner, client)
    assert client.tokens == guide.accepted == [50, 60, 61, 51]
    assert decoder.batches == [[(0, 0, (1, 2))], [(0, 2, (50, 60, 61))]]
    assert decoder.accepted == [60, 61]
    assert client.last.usage.completion_tokens == 4
    assert runner.stats(kv_capacity=0).completion_tokens == 4


def test_first_tokens_may_be_forced(runner, decoder):
    """Nothing is sampled before them."""
    guide = FakeGuide({None: (60, 61), 61: (62,)})
    sampled_by(decoder, guide)
    decoder.answers = [50]
    client = Client(runner, [1, 2], limit=4, guide=guide)
    run_out(runner, client)
    assert client.tokens == [60, 61, 62, 50]
    assert decoder.batches == [[(0, 0, (1, 2))], [(0, 2, (60, 61, 62))]]


def test_forced_end_takes_no_step(runner, decoder):
    """Where only the end may come, the last token is not evaluated any more."""
    guide = FakeGuide({50: (60,), 60: (END,)})
    sampled_by(decoder, guide)
    decoder.answers = [50]
    client = Client(runner, [1, 2], guide=guide)
    run_out(runner, client)
    assert client.tokens == [50, 60]
    assert client.last.reason == "stop"
    assert client.last.usage.completion_tokens == 3
    assert len(decoder.batches) == 1


def test_forced_tokens_stop_at_the_limit(runner, decoder):
    """No token is accepted beyond the limit."""
    guide = FakeGuide({50: (60, 61, 62)})
    sampled_by(decoder, guide)
    decoder.answers = [50]
    client = Client(runner, [1, 2], limit=3, guide=guide)
    run_out(runner, client)
    assert client.tokens == guide.accepted == [50, 60, 61]
    assert client.last.reason == "length"


def test_stop_token_is_not_forced(runner, decoder):
    """It is sampled: there may be another spelling."""
    guide = FakeGuide({50: (60, 77, 61)})
    sampled_by(decoder, guide)
    decoder.answers = [50, 51, 52]
    client = Client(runner, [1, 2], limit=4, guide=guide, stop_token_ids=frozenset({77}))
    run_out(runner, client)
    assert client.tokens == [50, 60, 51, 52]


def test_forced_tokens_with_log_probabilities_have_rows_of_their_own(runner, decoder):
    """Each is evaluated in a step, and the one after it has its log probabilities from there."""
    guide = FakeGuide({50: (60, 61)})
    sampled_by(decoder, guide)
    decoder.answers = [50, 51]
    client = Client(runner, [1, 2], limit=4, guide=guide, logprobs=1)
    guide.forced_behind[60] = (61,)  # what is left of the text
    run_out(runner, client)
    assert client.tokens == [50, 60, 61, 51]
    assert [batch[0][2] for batch in decoder.batches] == [(1, 2), (50,), (60,), (61,)]
    logprobs = [event.logprob for event in client.events if isinstance(event, Token)]
    assert logprobs == [-1.0, 0.0, 0.0, 0.0]


def test_guide_that_rejects_a_forced_token_ends_its_own_request(runner, decoder):
    """The slot keeps what was evaluated; the other request goes on."""
    guide = FakeGuide({50: (60, 61)}, broken=61)
    client = Client(runner, [1, 2], guide=guide)
    other = Client(runner, [3], limit=3)
    sampled_by(decoder, guide)
    decoder.answers = [50]
    run_out(runner, client, other)
    assert client.tokens == [50, 60]
    assert isinstance(client.last.error, GuideFailed)
    assert other.last.reason == "length"
    assert decoder.open_samplers == 0


def test_cancel_within_forced_tokens_ends_at_the_next_step(runner, decoder):
    """They were emitted with the sampled one; nothing is evaluated for them."""
    guide = FakeGuide({50: (60, 61)})
    sampled_by(decoder, guide)
    decoder.answers = [50]

    def cancel(event):
        if isinstance(event, Token) and event.id == 60:
            client.ticket.cancel()

    client = Client(runner, [1, 2], guide=guide, emit=cancel)
    run_out(runner, client)
    assert client.tokens == guide.accepted == [50, 60, 61]
    assert client.last.reason == "cancelled"
    assert len(decoder.batches) == 1


class NeverStored:
    """States whose write never ends."""

    is_writing = True
    idle_timeout = None

    def written(self):
        pass

    def clear(self, owner):
        raise RuntimeError(owner)


def test_a_flush_ends_with_the_thread(runner):
    runner.keep(NeverStored())
    runner.start("test")
    waiting = [threading.Thread(target=runner.flush, args=(60,), daemon=True) for _ in range(2)]
    for one in waiting:
        one.start()
    runner.close()
    for one in waiting:
        one.join(10)
        assert not one.is_alive()
    runner.flush(60)


def test_a_fault_while_prompts_are_cleared_is_the_callers(runner):
    """No running request fails for it."""
    runner.keep(NeverStored())
    runner.start("test")
    with pytest.raises(RuntimeError, match="one"):
        runner.forget("one")
    runner.close()
    runner.forget("one")


def test_a_checkpoint_that_cannot_be_saved_fails_no_request(decoder, caplog):
    def fail(*_, **__):
        raise MemoryError

    decoder.save = fail
    runner = GenerationThread(decoder, Scheduler(slots=1, chunk=CHUNK))
    client = Client(runner, range(1, 12), limit=2)
    client.ticket.branches = (4,)
    run_out(runner, client)
    assert isinstance(client.last, Finish)
    assert "checkpoint" in caplog.text
