"""Drafts in the steps of the engine's thread, taken by hand on a fake context."""

import itertools

import pytest

from pilotlight_backend import Failed, Finish, GenerateRequest, GuideFailed, InferenceFailed, Token
from pilotlight_backend.forcing import Forcing
from pilotlight_llama_cpp.batch import Decoded
from pilotlight_llama_cpp.drafting import Draft, Offer
from pilotlight_llama_cpp.generation_job import GenerationJob
from pilotlight_llama_cpp.generation_thread import GenerationThread
from pilotlight_llama_cpp.scheduler import Scheduler
from tests.backends.llama_cpp.fake_decoder import END, FakeDecoder
from tests.backends.llama_cpp.test_generation_thread import SPELLING, FakeGuide, sampled_by


class Script:
    """Drafts what it is given, one draft a step, as if each were worth its rows."""

    def __init__(self, *drafts):
        self._drafts = list(drafts)
        self.verdicts = []

    def offer(self, held, pending, most):  # noqa: ARG002
        tokens = self._drafts.pop(0) if self._drafts else ()
        return Offer(tokens[: max(0, most)], 0.99, 1e9)

    def verified(self, draft, accepted):
        assert isinstance(draft, Draft)
        self.verdicts.append((draft.length, accepted))


class Client:
    """Submits one request with *drafts*, and keeps what it hears."""

    def __init__(self, runner, prompt, *drafts, limit=100, emit=None, **fields):
        self.events = []
        self.emit = emit
        self.script = Script(*drafts)
        request = GenerateRequest(prompt=tuple(prompt), max_tokens=limit, **fields)
        self.job = GenerationJob(
            runner,
            request,
            self.hear,
            limit,
            ends=(END,),
            forcing=Forcing.of(request, SPELLING),
            drafter=self.script,
        )
        runner.submit(self.job)

    def hear(self, event):
        self.events.append(event)
        if self.emit is not None:
            self.emit(event)

    @property
    def tokens(self):
        return [event.id for event in self.events if isinstance(event, Token)]

    @property
    def last(self):
        return self.events[-1]


@pytest.fixture
def decoder():
    return FakeDecoder()


@pytest.fixture
def runner(decoder):
    ticks = itertools.count()
    return GenerationThread(
        decoder, Scheduler(slots=2, chunk=32), draft_max=16, clock=lambda: float(next(ticks))
    )


def run_out(runner, *clients):
    for _ in range(200):
        if all(client.events and isinstance(client.last, Finish | Failed) for client in clients):
            return
        runner.step()
    raise TimeoutError("a request does not end")


# By default the fake decoder samples the number of the tokens before: 2, 3, 4, …


def test_accepted_draft_is_one_step(runner, decoder):
    """Its tokens and one more are emitted, and the cache holds each once."""
    client = Client(runner, [1, 1], (3, 4, 5), limit=5)
    run_out(runner, client)
    assert client.tokens == [2, 3, 4, 5, 6]
    assert decoder.batches == [[(0, 0, (1, 1))], [(0, 2, (2, 3, 4, 5))]]
    assert client.script.verdicts == [(3, 3)]
    assert decoder.held[0] == [1, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("draft", "accepted"), [((9, 4, 5), 0), ((3, 9, 5), 1), ((3, 4, 9), 2), ((9,), 0)]
)
def test_refused_tokens_are_removed(runner, decoder, draft, accepted):
    """The completion is that without drafts, and so is what the slot holds at its end."""
    client = Client(runner, [1, 1], draft, limit=8)
    run_out(runner, client)
    assert client.tokens == list(range(2, 10))
    assert client.script.verdicts == [(len(draft), accepted)]
    assert decoder.held[0] == [1, 1, *range(2, 9)]
    assert decoder.held[0] == runner._scheduler.admission.slots[0].held


def test_usage_and_totals_count_drafts(runner):
    """Drafted and accepted tokens, of the request and of the engine; the completion counts once."""
    client = Client(runner, [1, 1], (3, 4, 9), (), (8, 9), limit=12)
    run_out(runner, client)
    usage, stats = client.last.usage, runner.stats(kv_capacity=0)
    assert (usage.completion_tokens, usage.drafted_tokens, usage.accepted_tokens) == (12, 5, 2)
    assert (stats.drafts, stats.drafted_tokens, stats.accepted_tokens) == (2, 5, 2)
    assert stats.completion_tokens == 12


def test_next_prompt_finds_the_accepted_tokens_alone(runner, decoder):
    """A refused draft is in no slot that a later request continues."""
    first = Client(runner, [1, 1], (3, 4, 9, 9), limit=4)
    run_out(runner, first)
    second = Client(runner, [1, 1, 2, 3, 4, 9, 9, 7], limit=1)
    run_out(runner, second)
    assert second.last.usage.cached_tokens == 5
    assert decoder.batches[-1] == [(0, 5, (9, 9, 7))]


def test_draft_ends_before_the_limit(runner, decoder):
    """One token is sampled behind it, and that is the last one."""
    client = Client(runner, [1, 1], (3, 4, 5, 6, 7), limit=4)
    run_out(runner, client)
    assert client.tokens == [2, 3, 4, 5]
    assert client.last.reason == "length"
    assert decoder.batches[-1] == [(0, 2, (2, 3, 4))]


def test_end_inside_a_draft_ends_the_completion(runner, decoder):
    """What was drafted behind it is neither emitted nor kept."""
    decoder.answers = [50, 51, END]
    client = Client(runner, [1], (51, 52, 53))
    run_out(runner, client)
    assert client.tokens == [50, 51]
    assert client.last.reason == "stop"
    assert client.last.usage.completion_tokens == 3
    assert decoder.held[0] == [1, 50, 51]


@pytest.mark.parametrize("ending", [END, 77])
def test_ending_tokens_are_not_drafted(runner, decoder, ending):
    """Behind one nothing is sampled; it is sampled itself like any other token."""
    decoder.answers = [50, 51, ending]
    client = Client(runner, [1], (51, ending, 53), stop_token_ids=frozenset({77}))
    run_out(runner, client)
    assert decoder.batches[-1] == [(0, 1, (50, 51))]
    assert client.tokens == [50, 51]
    assert client.last.reason == "stop"


def test_cancelled_at_a_drafted_token_stops_at_the_next_step(runner, decoder):
    """As a stop string cancels it; the slot holds what was accepted."""
    client = Client(runner, [1, 1], (3, 4, 5))
    client.emit = lambda event: (
        client.job.cancel() if isinstance(event, Token) and event.id == 4 else None
    )
    run_out(runner, client)
    assert client.last.reason == "cancelled"
    assert client.tokens == [2, 3, 4, 5, 6]
    assert decoder.held[0] == [1, 1, 2, 3, 4, 5]
    assert decoder.open_samplers == 0


def test_streams_with_and_without_drafts_share_a_step(runner, decoder):
    """Rows are found behind a neighbour's draft too."""
    one = Client(runner, [1, 1], (3, 4, 5, 9, 9, 9, 9), (), (8, 9, 9, 9, 9, 9, 9), limit=20)
    two = Client(runner, [1] * 10, (), tuple(range(12, 19)), (21,) * 7, limit=20)
    run_out(runner, one, two)
    assert one.tokens == list(range(2, 22))
    assert two.tokens == list(range(10, 30))
    assert {(7, 3), (7, 7)} <= {*one.script.verdicts, *two.script.verdicts}
    assert decoder.held[0] == [1, 1, *range(2, 21)]
    assert decoder.held[1] == [1] * 10 + [*range(10, 29)]


def test_draft_that_the_guide_refuses_is_cut(runner, decoder):
    """It is not evaluated."""
    guide = FakeGuide({})
    guide.admits = lambda tokens: 1 if 4 in tokens else len(tokens)
    sampled_by(decoder, guide)
    client = Client(runner, [1, 1], (3, 4, 5), limit=4, guide=guide)
    run_out(runner, client)
    assert decoder.batches[1] == [(0, 2, (2, 3))]
    assert client.tokens == guide.accepted == [2, 3, 4, 5]


def test_forced_tokens_confirm_a_draft(runner, decoder):
    """They are not sampled, and where they are drafted they are evaluated already."""
    guide = FakeGuide({3: (60, 61)})
    sampled_by(decoder, guide)
    client = Client(runner, [1, 1], (3, 60, 61, 9), limit=6, guide=guide)
    run_out(runner, client)
    assert client.tokens == guide.accepted == [2, 3, 60, 61, 6, 7]
    assert client.script.verdicts == [(3, 3)]
    assert decoder.accepted == [60, 61]


def test_forced_tokens_that_differ_end_a_draft(runner, decoder):
    """They are evaluated in the next step, with all that is behind them."""
    guide = FakeGuide({3: (60, 61)})
    sampled_by(decoder, guide)
    client = Client(runner, [1, 1], (3, 60, 8, 9), limit=5, guide=guide)
    run_out(runner, client)
    assert client.tokens == [2, 3, 60, 61, 6]
    assert decoder.batches[2] == [(0, 5, (61,))]


def test_guide_that_fails_inside_a_draft_fails_its_request(runner, decoder):
    """No other request, and the slot stays usable."""
    guide = FakeGuide({3: (60,)}, broken=60)
    sampled_by(decoder, guide)
    client = Client(runner, [1, 1], (3, 4, 5), guide=guide)
    other = Client(runner, [7], limit=5)
    run_out(runner, client, other)
    assert isinstance(client.last.error, GuideFailed)
    assert isinstance(other.last, Finish)
    assert decoder.held[0] == [1, 1, 2, 3][: len(decoder.held[0])]
    assert decoder.held[0] == runner._scheduler.admission.slots[0].held


def test_guide_that_fails_at_a_draft_is_not_asked_twice(runner, decoder):
    """The step goes on without the draft."""
    guide = FakeGuide({})
    guide.admits = lambda _tokens: 1 // 0
    sampled_by(decoder, guide)
    client = Client(runner, [1, 1], (3, 4), limit=3, guide=guide)
    run_out(runner, client)
    assert client.tokens == [2, 3, 4]
    assert client.script.verdicts == []


def test_log_probabilities_are_those_of_each_row(runner):
    """The fake's are the number of the row: that of the last certain token, then the draft's."""
    client = Client(runner, [1, 1], (3, 4), limit=4, logprobs=0)
    run_out(runner, client)
    assert [event.logprob for event in client.events if isinstance(event, Token)] == [-1, 0, -1, -2]


def test_batch_without_room_is_evaluated_without_drafts(runner, decoder):
    """A draft is no reason to fail."""
    client = Client(runner, [1, 1], (3, 4, 5), limit=4)
    runner.step()
    decoder.outcomes = [Decoded.REFUSED]
    run_out(runner, client)
    assert client.tokens == [2, 3, 4, 5]
    assert [batch[0][2] for batch in decoder.batches[1:3]] == [(2, 3, 4), (2,)]
    assert client.script.verdicts == []


def test_broken_step_with_a_draft_fails_its_request(runner, decoder):
    """The slot is cleared."""
    client = Client(runner, [1, 1], (3, 4, 5))
    runner.step()
    decoder.outcomes = [Decoded.BROKEN]
    run_out(runner, client)
    assert isinstance(client.last.error, InferenceFailed)
    assert decoder.held[0] == []


def test_slot_that_cannot_be_cut_back_fails_its_request(runner, decoder):
    """Nothing is sampled from a cache that holds refused tokens."""
    decoder.truncates = False
    client = Client(runner, [1, 1], (3, 9))
    run_out(runner, client)
    assert isinstance(client.last.error, InferenceFailed)
    assert decoder.held[0] == runner._scheduler.admission.slots[0].held == []


def test_without_drafting_nothing_is_drafted(decoder):
    """The engine decides, whatever a request brings."""
    runner = GenerationThread(decoder, Scheduler(slots=1, chunk=32))
    client = Client(runner, [1, 1], (3, 4, 5), limit=3)
    run_out(runner, client)
    assert [len(batch[0][2]) for batch in decoder.batches] == [2, 1, 1]
