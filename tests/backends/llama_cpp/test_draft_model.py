"""What a draft model reads and drafts, with a context that counts on: 5 is followed by 6."""

import pytest

from pilotlight_backend import LoadFailed
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
        self.room = self.length
        self.expected = []
        self.copies = []
        self.is_closed = False

    def expect(self, length):
        self.expected.append(length)

    def copy(self, source, target, length):
        self.copies.append((source, target, length))
        self.held[target] = self.held[source][:length]
        return len(self.held[target]) == length

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
    tokens = list(range(62))
    while model.behind(0, tokens) > 1:
        model.read(0, tokens)
    drafted = model.draft([Wanted(0, tokens, 9, 0.0)])[0]
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


def test_measured_model_knows_what_a_token_takes(context):
    moments = iter([6.0, 6.25])
    model = DraftModel(context, slots=1, chunk=8, vocabulary_size=9, clock=lambda: next(moments))
    model.measure()
    assert model.times.step([1]) == pytest.approx(0.25, rel=0.01)
    assert context.held == {0: []}


def test_context_is_freed_with_it(model, context):
    model.close()
    assert context.is_closed


def test_model_that_computes_nothing_is_refused(model, context):
    """The load fails, and not each draft."""
    context.outcome = Decoded.BROKEN
    with pytest.raises(LoadFailed, match=r"draft_model: llama\.cpp cannot decode a token with it"):
        model.measure()


def test_times_are_those_of_the_draft_model(context):
    """Each batch is measured, by its rows."""
    moments = iter(range(100))
    model = DraftModel(
        context, slots=1, chunk=8, vocabulary_size=99, clock=lambda: float(next(moments))
    )
    assert isinstance(model.times, StepTimes)
    model.draft([Wanted(0, [1, 2, 3, 4], 5, 0.0)])
    assert model.times.step([1]) == pytest.approx(1.0, rel=0.1)


def test_a_request_uses_what_its_own_scope_has_left(model, context):
    """Of another caller's prompt nothing stays: the time of a response would reveal it."""
    model.begin(0, "ann")
    model.draft([Wanted(0, [1, 2, 3, 4], 1, 0.0)])
    model.begin(0, "ann")
    assert model.behind(0, [1, 2, 3, 4, 5]) == 1
    model.begin(0, "bob")
    assert model.behind(0, [1, 2, 3, 4, 5]) == 5
    assert context.held[0] == []


def test_longer_context_is_prepared_and_not_waited_for(model, context):
    """A sequence that does not fit drafts nothing until it is made."""
    context.room = 4
    assert model.behind(0, [1, 2, 3]) == 3
    assert model.behind(0, [1, 2, 3, 4]) is None
    assert context.expected == [3, 4]
    assert model.draft([Wanted(0, [1, 2], 9, 0.0)]) == {0: [3, 4, 5]}
    context.room = 64
    assert model.behind(0, [1, 2, 3, 4, 5]) == 1


def test_context_that_cannot_grow_is_not_tried_again(model, context):
    """Shorter sequences draft on."""
    context.outcome = Decoded.TOO_SHORT
    model.read(0, list(range(8)))
    context.outcome = Decoded.DONE
    assert model.behind(0, list(range(7))) is None
    assert model.behind(0, list(range(6))) == 6


def test_first_tokens_share_a_batch_as_far_as_it_has_room(model, context):
    """A batch has room for a chunk of eight, and one for each slot; the rest draft later."""
    wanted = [Wanted(0, list(range(6)), 2, 0.0), Wanted(1, list(range(5)), 2, 0.0)]
    assert model.draft(wanted) == {0: [6, 7], 1: []}
    assert [len(batch) for batch in context.batches] == [1, 1]
    assert model.draft(wanted[1:]) == {1: [5, 6]}


SHARED = [token % 100 for token in range(120)]


@pytest.fixture
def sharing(context):
    context.length = context.room = 1000
    model = DraftModel(context, slots=3, chunk=200, vocabulary_size=100, clock=lambda: 0.0)
    for slot in range(3):
        model.begin(slot, "ann")
    model.read(0, [*SHARED, 7])
    return model


def test_prompt_that_another_slot_has_read_is_copied(sharing, context):
    """As far as it is the same; the copy's last token is still to be evaluated."""
    assert sharing.copy(1, [*SHARED, 50, 51])
    assert sharing.copy(2, SHARED)
    assert context.copies == [(0, 1, 120), (0, 2, 119)]
    assert sharing.behind(1, [*SHARED, 50, 51]) == 2
    assert sharing.draft([Wanted(1, [*SHARED, 50, 51], 1, 0.0)]) == {1: [52]}
    assert context.held[1] == [*SHARED, 50, 51]


def test_copy_that_gains_little_is_not_made(sharing, context):
    """llama.cpp copies the whole slot; the slot itself is no other one."""
    sharing.read(1, SHARED[:60])
    assert not sharing.copy(1, SHARED)
    assert not sharing.copy(0, [*SHARED, 7, 8])
    assert not context.copies


def test_what_another_scope_has_read_is_not_copied(sharing, context):
    sharing.begin(1, "bob")
    assert not sharing.copy(1, SHARED)
    assert not context.copies


def test_copy_that_fails_leaves_an_empty_slot(sharing, context):
    context.held[0].clear()
    assert not sharing.copy(1, [*SHARED, 50])
    assert sharing.behind(1, [*SHARED, 50]) == 121
