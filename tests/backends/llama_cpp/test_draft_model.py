"""What a draft model reads and drafts, with a context that counts on: 5 is followed by 6."""

import pytest

from pilotlight_llama_cpp.batch import Decoded
from pilotlight_llama_cpp.draft_model import DraftModel, Wanted
from pilotlight_llama_cpp.step_times import StepTimes


class Counting:
    """A context whose likeliest token is the last one plus one, with a probability."""

    length = 64

    def __init__(self):
        self.held = {}
        self.batches = []
        self.rows = []
        self.probability = 0.9
        self.outcome = Decoded.DONE
        self.is_closed = False

    def decode(self, runs):
        if self.outcome is Decoded.DONE:
            self.batches.append([(run.slot, list(run.tokens)) for run in runs])
            self.rows = [token for run in runs for token in run.tokens]
            for run in runs:
                held = self.held.setdefault(run.slot, [])
                assert len(held) == run.start
                held.extend(run.tokens)
        return self.outcome

    def truncate(self, slot, length):
        del self.held.setdefault(slot, [])[length:]
        return True

    def likeliest(self, row):
        return self.rows[row] + 1, self.probability

    def close(self):
        self.is_closed = True


@pytest.fixture
def context():
    return Counting()


@pytest.fixture
def model(context):
    return DraftModel(context, slots=2, chunk=8, vocabulary_size=100, clock=lambda: 0.0)


def test_draft_is_what_is_likeliest(model, context):
    """One batch for each position; the last drafted token is not evaluated."""
    assert model.draft([Wanted(0, [1, 2, 3], 3, 0.0)]) == {0: [4, 5, 6]}
    assert context.batches == [[(0, [1, 2, 3])], [(0, [4])], [(0, [5])]]


def test_streams_share_batches(model, context):
    """A stream that wants fewer tokens is left out of the later ones."""
    wanted = [Wanted(0, [1], 1, 0.0), Wanted(1, [50, 51], 3, 0.0)]
    assert model.draft(wanted) == {0: [2], 1: [52, 53, 54]}
    assert context.batches == [[(0, [1]), (1, [50, 51])], [(1, [52])], [(1, [53])]]


def test_accepted_tokens_are_not_read_again(model, context):
    """Of a draft that was accepted the last token is new, and the one sampled behind it."""
    model.draft([Wanted(0, [1, 2], 2, 0.0)])
    context.batches.clear()
    assert model.draft([Wanted(0, [1, 2, 3, 4, 9], 1, 0.0)]) == {0: [10]}
    assert context.batches == [[(0, [4, 9])]]


def test_refused_tokens_are_removed(model, context):
    """The slot goes on with what was sampled in their place."""
    model.draft([Wanted(0, [1, 2], 3, 0.0)])
    assert model.draft([Wanted(0, [1, 2, 70], 1, 0.0)]) == {0: [71]}
    assert context.held[0] == [1, 2, 70]


def test_sequence_that_has_not_moved_is_evaluated_again(model):
    """Its last token is, for its logits."""
    assert model.draft([Wanted(0, [1, 2], 1, 0.0)]) == model.draft([Wanted(0, [1, 2], 1, 0.0)])


def test_slot_without_cut_is_read_from_the_start(model, context):
    """A window may not go back; then it is empty."""
    model.draft([Wanted(0, [1, 2], 3, 0.0)])
    context.truncate = lambda slot, _length: context.held[slot].clear()
    model.draft([Wanted(0, [1, 2, 70], 1, 0.0)])
    assert context.held[0] == [1, 2, 70]


@pytest.mark.parametrize(("least", "count"), [(0.95, 0), (0.85, 1), (0.8, 2), (0.5, 6)])
def test_unlikely_tokens_are_not_drafted(model, least, count):
    """A draft ends where all its tokens together are less likely than that."""
    assert len(model.draft([Wanted(0, [1], 9, least)])[0]) == count


def test_what_is_not_read_yet(model):
    """All of a prompt at first, then what is new of it."""
    assert model.behind(0, [1, 2, 3]) == 3
    model.draft([Wanted(0, [1, 2, 3], 1, 0.0)])
    assert model.behind(0, [1, 2, 3, 8, 9]) == 2
    assert model.behind(1, [1, 2, 3]) == 3


@pytest.mark.parametrize(
    "tokens", [[1, -5, -6, 2], [1, 100, 2], [1] * 64], ids=["image", "unknown", "too long"]
)
def test_what_cannot_be_read(model, tokens):
    """An image, a token that the smaller vocabulary lacks, more tokens than a slot has."""
    assert model.behind(0, tokens) is None


def test_tokens_beyond_the_common_vocabulary_are_not_drafted(model):
    """The large model's vocabulary may be smaller."""
    assert model.draft([Wanted(0, [97], 9, 0.0)]) == {0: [98, 99]}


def test_prompt_is_read_in_chunks(model, context):
    """The last token is left: its logits are the first that are needed."""
    prompt = list(range(20))
    assert [model.read(0, prompt) for _ in range(3)] == [8, 8, 3]
    assert context.held[0] == prompt[:-1]
    assert model.behind(0, prompt) == 1


def test_draft_ends_with_the_slot(model):
    """A slot's last cell is for a token that is certain."""
    drafted = model.draft([Wanted(0, list(range(62)), 9, 0.0)])[0]
    assert drafted == [62, 63, 64]


def test_failed_decode_drafts_nothing_and_empties_the_slots(model, context):
    """What the cache holds then is unknown."""
    model.draft([Wanted(0, [1, 2, 3], 1, 0.0)])
    context.outcome = Decoded.ABORTED
    assert model.draft([Wanted(0, [1, 2, 3, 4], 3, 0.0)]) == {0: []}
    context.outcome = Decoded.DONE
    assert model.behind(0, [1, 2, 3, 4]) == 4


def test_slots_are_forgotten(model, context):
    """Prompts of an owner that are to be forgotten are in no cache."""
    model.draft([Wanted(0, [1, 2], 1, 0.0), Wanted(1, [3], 1, 0.0)])
    model.forget_all()
    assert not any(context.held.values())
    assert model.behind(0, [1, 2]) == 2


def test_warm_model_knows_what_a_token_takes(context):
    """The second decode is measured: the first one meets cold pages."""
    moments = iter([0.0, 5.0, 6.0, 6.25])
    model = DraftModel(context, slots=1, chunk=8, vocabulary_size=9, clock=lambda: next(moments))
    model.warm()
    assert model.times.step([1]) == pytest.approx(0.25, rel=0.01)
    assert context.held == {0: []}


def test_context_is_freed_before_the_model(context):
    """llama.cpp wants it so."""
    states = []
    model = DraftModel(
        context,
        slots=1,
        chunk=8,
        vocabulary_size=9,
        free=lambda: states.append(context.is_closed),
    )
    model.close()
    assert states == [True]


def test_times_are_those_of_the_draft_model(context):
    """Each batch is measured, by its rows."""
    moments = iter(range(100))
    model = DraftModel(
        context, slots=1, chunk=8, vocabulary_size=99, clock=lambda: float(next(moments))
    )
    assert isinstance(model.times, StepTimes)
    model.draft([Wanted(0, [1, 2, 3, 4], 5, 0.0)])
    assert model.times.step([1]) == pytest.approx(1.0, rel=0.1)


def test_a_request_keeps_what_it_has_cached_and_no_more(model, context):
    """Another caller's prompt may be behind it."""
    model.draft([Wanted(0, [1, 2, 3, 4], 1, 0.0)])
    context.batches.clear()
    model.keep(0, 2)
    assert model.behind(0, [1, 2, 3, 4]) == 2
    assert model.draft([Wanted(0, [1, 2, 3, 4], 1, 0.0)]) == {0: [5]}
    assert context.batches == [[(0, [3, 4])]]
    model.keep(0, 9)
    assert model.behind(0, [1, 2, 3, 4, 5]) == 1
