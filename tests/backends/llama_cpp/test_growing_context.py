"""A context that starts short: when it grows, what it carries over, where it starts long."""

import logging
import threading
import weakref
from types import SimpleNamespace

import pytest

from pilotlight_backend import Failed, InferenceFailed, LoadFailed, LoadOptions, ModelFacts
from pilotlight_llama_cpp import context_lengths, draft_load
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_llama_cpp.batch import Decoded
from pilotlight_llama_cpp.context_lengths import SHORT, lengths
from pilotlight_llama_cpp.growing_context import GrowingContext
from tests.backends.answer import GREEDY, Answer
from tests.backends.llama_cpp.fake_decoder import FakeFlag

FULL = 4 * SHORT
LENGTHS = (SHORT, 2 * SHORT, FULL)


class FakeContext:
    """Holds the tokens that each slot was given."""

    def __init__(self, length):
        self.length = length
        self.is_movable = True
        self.warmed = 0
        self.slots = {}
        self.copies = {}
        self.closed = False
        self.loses = False
        """Whether a state that is put is refused."""

    def adapt(self, adapters):
        self.adapters = adapters

    def decode(self, runs):
        assert not self.closed
        for target, (source, length) in self.copies.items():
            self.slots[target] = self.slots[source][:length]
        self.copies.clear()
        for run in runs:
            held = self.slots.setdefault(run.slot, [])
            assert len(held) == run.start
            assert run.start + len(run.tokens) <= self.length
            held.extend(run.tokens)
        return Decoded.DONE

    def held(self, slot):
        return len(self.slots.get(slot, ()))

    def save(self, slot):
        assert slot not in self.copies
        return memoryview(bytearray(self.slots.get(slot, ())))

    def warm(self):
        self.warmed += 1

    def states(self, slots):
        return ((slot, self.save(slot)) for slot in slots)

    def put(self, slot, state):
        self.slots[slot] = [] if self.loses else list(state)
        return self.held(slot)

    def truncate(self, slot, length):
        del self.slots.setdefault(slot, [])[length:]
        if not length:
            self.copies.pop(slot, None)
        return True

    def copy(self, source, target, length, state=None):
        """Copy at the next decode, as llama.cpp does; until then the cells must not be read."""
        held = self.held(source)
        self.slots[target] = [None] * min(length, held)
        self.copies[target] = (source, length)
        self.copied_with = state
        return held >= length

    def close(self):
        assert not self.closed
        self.closed = True


class Fakes:
    """Makes fake contexts; *gate* holds all but the first up."""

    def __init__(self):
        self.made = []
        self.gate = threading.Event()
        self.gate.set()
        self.error = None
        self.is_movable = True
        self.loses = False
        self.model = SimpleNamespace(closed=False, close=self._close)

    def _close(self):
        self.model.closed = True

    def make(self, length):
        if self.made:
            assert self.gate.wait(10)
            if self.error:
                raise self.error
        context = FakeContext(length)
        context.is_movable = self.is_movable
        context.loses = bool(self.made) and self.loses
        self.made.append(context)
        return context


def run(slot, start, count, token=7):
    return SimpleNamespace(
        slot=slot, start=start, tokens=(token,) * count, sampled=True, reach=start + count
    )


@pytest.fixture
def fakes():
    return Fakes()


@pytest.fixture
def growing(fakes):
    context = GrowingContext(fakes.model, FakeFlag(), fakes.make, slots=2, lengths=LENGTHS)
    yield context
    fakes.gate.set()
    context.close()
    assert fakes.model.closed
    assert all(made.closed for made in fakes.made)


def test_it_starts_short_and_stays_so(fakes, growing):
    """Where no sequence comes near its end, there is no other context."""
    growing.expect(SHORT // 2)
    assert growing.decode([run(0, 0, SHORT // 2)]) is Decoded.DONE
    assert [made.length for made in fakes.made] == [SHORT]


def test_every_slot_is_carried_over(fakes, growing):
    """A longer context holds what the shorter one did, and the shorter one is freed."""
    growing.decode([run(0, 0, 600, token=1), run(1, 0, 30, token=2)])
    assert growing.decode([run(0, 600, 500, token=3)]) is Decoded.DONE
    short, longer = fakes.made
    assert (short.closed, longer.length) == (True, 2 * SHORT)
    assert longer.slots == {0: [1] * 600 + [3] * 500, 1: [2] * 30}
    assert growing.decode([run(0, 1100, 500), run(1, 30, 1)]) is Decoded.DONE
    assert len(fakes.made) == 2


def test_states_are_moved_one_at_a_time(fakes, growing, monkeypatch):
    """Each is as large as what its slot holds: there is room for one beside the contexts."""
    alive = []

    def states(slots):
        for slot in slots:
            assert not any(made() for made in alive)
            state = memoryview(bytearray(growing._context.slots[slot]))
            alive.append(weakref.ref(state))
            yield slot, state
            del state

    growing.decode([run(0, 0, 600, token=1), run(1, 0, 30, token=2)])
    monkeypatch.setattr(fakes.made[0], "states", states)
    assert growing.decode([run(0, 600, 500, token=3)]) is Decoded.DONE
    assert len(alive) == 2
    assert fakes.made[1].slots == {0: [1] * 600 + [3] * 500, 1: [2] * 30}


@pytest.mark.parametrize(
    ("reaches", "made"),
    [
        ([SHORT - 256], [SHORT]),
        ([SHORT - 255], [SHORT, 2 * SHORT]),
        ([2 * SHORT - 256], [SHORT, 2 * SHORT]),
        ([2 * SHORT - 255], [SHORT, FULL]),
        ([FULL], [SHORT, FULL]),
        ([SHORT, SHORT + 10, 2 * SHORT - 100, 2 * SHORT + 1], [SHORT, 2 * SHORT, FULL]),
    ],
)
def test_next_length_is_the_least_that_lasts(fakes, growing, reaches, made):
    """It doubles, and is long enough that the next one is not needed at once."""
    held = 0
    for reach in reaches:
        assert growing.decode([run(0, held, reach - held)]) is Decoded.DONE
        held = reach
    growing._maker.shutdown()  # what was begun ahead of its need
    assert [context.length for context in fakes.made] == made


def test_a_context_that_is_made_too_short_is_given_up(fakes, growing):
    """A longer prompt comes while it is being made."""
    fakes.gate.clear()
    growing.expect(SHORT)
    growing.expect(2 * SHORT + 1)
    assert growing.room == SHORT
    fakes.gate.set()
    assert growing.decode([run(0, 0, 2 * SHORT + 1)]) is Decoded.DONE
    assert growing.room == FULL
    assert [context.closed for context in fakes.made][-1] is False
    assert growing._context is fakes.made[-1]
    assert all(context.closed for context in fakes.made[:-1])


def test_room_counts_a_longer_context_once_it_is_made(fakes, growing):
    """Until then what needs it would wait."""
    fakes.gate.clear()
    growing.expect(SHORT)
    assert growing.room == SHORT
    fakes.gate.set()
    growing._making.context.result(10)
    assert growing.room == 2 * SHORT


def test_aborted_step_does_not_wait_for_the_longer_context(fakes, growing):
    """What the slots hold stays; the next step finds the context that was being made."""
    growing.decode([run(0, 0, 600, token=1)])
    fakes.gate.clear()
    growing.abort.set()
    assert growing.decode([run(0, 600, 500)]) is Decoded.ABORTED
    assert fakes.made[0].slots == {0: [1] * 600}
    growing.abort.clear()
    fakes.gate.set()
    assert growing.decode([run(0, 600, 500, token=3)]) is Decoded.DONE
    assert [made.slots for made in fakes.made[1:]] == [{0: [1] * 600 + [3] * 500}]


def test_copies_under_way_are_carried_over(fakes, growing):
    """What llama.cpp has yet to copy is copied in the long context."""
    growing.decode([run(0, 0, SHORT, token=1)])
    assert growing.copy(0, 1, 900)
    assert growing.decode([run(0, SHORT, 1, token=2), run(1, 900, 1, token=3)]) is Decoded.DONE
    short, full = fakes.made
    assert short.closed
    assert full.slots == {0: [1] * SHORT + [2], 1: [1] * 900 + [3]}


def test_copy_of_a_recurrent_state_is_repeated_with_its_checkpoint(fakes, growing):
    """The source holds more, and cannot be cut back."""
    state = memoryview(b"checkpoint")
    growing.decode([run(0, 0, SHORT, token=1)])
    assert growing.copy(0, 1, 900, state)
    assert growing.decode([run(0, SHORT, 1, token=2), run(1, 900, 1, token=3)]) is Decoded.DONE
    assert fakes.made[1].copied_with is state


def test_context_whose_slots_cannot_be_moved_is_replaced_when_it_is_warm(fakes, growing, caplog):
    caplog.set_level(logging.INFO)
    fakes.is_movable = False
    fakes.made[0].is_movable = False
    growing.warm()
    short, full = fakes.made
    assert (short.closed, full.length, full.warmed) == (True, FULL, 1)
    assert "the context starts in full length" in caplog.text
    assert growing.decode([run(0, 0, FULL)]) is Decoded.DONE
    assert len(fakes.made) == 2


def test_warm_context_whose_slots_can_be_moved_stays_short(fakes, growing):
    growing.warm()
    assert [(made.length, made.warmed) for made in fakes.made] == [(SHORT, 1)]


def test_copy_that_an_aborted_step_left_does_not_keep_a_longer_context_away(fakes, growing):
    """Its target is emptied: the source may be cut back before the copy could be repeated."""
    growing.decode([run(0, 0, 700, token=1)])
    assert growing.copy(0, 1, 650)
    fakes.gate.clear()
    growing.abort.set()
    assert growing.decode([run(1, 650, 500)]) is Decoded.ABORTED
    assert not growing.recover(1, 650)
    growing.abort.clear()
    fakes.gate.set()
    assert growing.truncate(0, 500)
    assert growing.decode([run(0, 500, 1000, token=2)]) is Decoded.DONE
    assert fakes.made[-1].slots == {0: [1] * 500 + [2] * 1000}
    assert growing.is_settled(1)


def test_copy_that_was_emptied_since_is_not_carried_over(fakes, growing):
    """A failed step may leave one; its slot stays empty."""
    growing.decode([run(0, 0, SHORT, token=1)])
    growing.copy(0, 1, 900)
    growing.truncate(1, 0)
    assert growing.decode([run(0, SHORT, 1, token=2), run(1, 0, 1, token=3)]) is Decoded.DONE
    assert fakes.made[1].slots == {0: [1] * SHORT + [2], 1: [3]}


@pytest.mark.parametrize("slot", [0, 1])
def test_baked_prompt_is_not_put_where_a_copy_is_under_way(growing, slot):
    """It would be copied, or copied over; until the copy is done the slot is given nothing."""
    state = memoryview(bytearray([5] * 40))
    growing.decode([run(0, 0, 50, token=1)])
    assert growing.adopt(SimpleNamespace(tokens=(5,) * 40, state=state, close=lambda: None))
    growing.decode([run(0, 40, 10, token=1)])
    growing.copy(0, 1, 45)
    assert not growing.restore(slot)
    growing.decode([run(slot, 0, 1)])
    assert growing.restore(slot)


def test_the_long_one_is_made_while_the_short_one_serves(fakes, growing):
    """A long prompt is expected; until it needs the room, no request waits."""
    fakes.gate.clear()
    growing.expect(3000)
    assert growing.decode([run(0, 0, SHORT)]) is Decoded.DONE
    assert len(fakes.made) == 1
    fakes.gate.set()
    assert growing.decode([run(0, SHORT, 1)]) is Decoded.DONE
    assert fakes.made[1].slots[0] == [7] * (SHORT + 1)


def test_a_context_that_cannot_be_made_refuses_the_batch_alone(fakes, growing):
    """What is held stays, and another try is another chance."""
    fakes.error = LoadFailed("no memory")
    growing.decode([run(0, 0, SHORT), run(1, 0, 3)])
    assert growing.decode([run(0, SHORT, 1)]) is Decoded.TOO_SHORT
    assert growing.shortage == (
        "the context cannot grow to 2048 tokens a slot: no memory; a lower context_length or"
        " parallel needs less memory, and so do keys and values of q8_0 (cache_type_k,"
        " cache_type_v)"
    )
    assert growing.decode([run(1, 3, 1)]) is Decoded.DONE
    fakes.error = None
    assert growing.decode([run(0, SHORT, 1)]) is Decoded.DONE
    assert len(fakes.made) == 2


def test_a_state_that_does_not_fit_is_never_half_used(fakes, growing):
    """The short context goes on with what it has."""
    fakes.loses = True
    growing.decode([run(0, 0, SHORT)])
    assert growing.decode([run(0, SHORT, 1)]) is Decoded.TOO_SHORT
    assert not fakes.made[0].closed
    assert fakes.made[1].closed
    assert growing.truncate(0, 10)
    assert growing.decode([run(0, 10, 1)]) is Decoded.DONE
    fakes.made.pop(1)


@pytest.mark.parametrize(
    "error", [MemoryError("512 bytes for a state"), InferenceFailed("no state")], ids=repr
)
def test_a_state_that_cannot_be_saved_leaves_no_longer_context(fakes, growing, caplog, error):
    """There may be no memory for it: the short context goes on, and the other one is freed."""
    growing.decode([run(0, 0, SHORT)])

    def fail(_slot):
        raise error

    fakes.made[0].save = fail
    assert growing.decode([run(0, SHORT, 1)]) is Decoded.TOO_SHORT
    assert [made.closed for made in fakes.made] == [False, True]
    assert f"cannot grow to {2 * SHORT} tokens a slot: a slot's state cannot be moved: {error}" in (
        caplog.text
    )
    fakes.made.pop(1)


def test_closing_waits_for_the_one_that_is_being_made(fakes):
    """Nothing is left of it."""
    context = GrowingContext(fakes.model, FakeFlag(), fakes.make, slots=1, lengths=LENGTHS)
    fakes.gate.clear()
    context.expect(FULL)
    threading.Timer(0.05, fakes.gate.set).start()
    context.close()
    assert [made.closed for made in fakes.made] == [True, True]


@pytest.mark.parametrize("baked", [10, SHORT, SHORT + 10])
def test_a_baked_prompt_that_is_long_makes_it_grow(fakes, growing, baked):
    """It fits with a token to come, whatever its length; and into every slot."""
    closed = []
    tokens = (5,) * baked
    prompt = SimpleNamespace(
        tokens=tokens, state=memoryview(bytearray(tokens)), close=lambda: closed.append(1)
    )
    assert growing.adopt(prompt)
    assert growing.restore(1)
    assert growing.decode([run(0, baked, 1), run(1, baked, 1)]) is Decoded.DONE
    assert fakes.made[-1].slots == {0: [*tokens, 7], 1: [*tokens, 7]}
    assert len(fakes.made) == (1 if baked < SHORT else 2)


# Where it starts short


def facts(context_length=4096, size_bytes=1000, kv_bytes_per_token=1, state_bytes=0):
    return ModelFacts(
        path="m",
        architecture="qwen3",
        context_length=context_length,
        size_bytes=size_bytes,
        kv_bytes_per_token=kv_bytes_per_token,
        state_bytes=state_bytes,
    )


@pytest.mark.parametrize(
    ("model_facts", "movable", "gpu_layers", "available", "expected"),
    [
        (facts(), True, 0, None, (SHORT, 2 * SHORT, 4096)),
        (facts(5000), True, 0, None, (SHORT, 2 * SHORT, 5000)),
        (facts(32_768), True, 0, None, (1024, 2048, 4096, 8192, 16_384, 32_768)),
        (facts(2 * SHORT), True, 0, None, (SHORT, 2 * SHORT)),
        (facts(2 * SHORT - 1), True, 0, None, (2 * SHORT - 1,)),
        (facts(), False, 0, None, (4096,)),
        (facts(), True, -1, None, (4096,)),
        (facts(), True, 0, 1000 + 2 * 4096 + 6 * SHORT, (SHORT, 2 * SHORT, 4096)),
        (facts(), True, 0, 1000 + 2 * 4096 + 6 * SHORT - 1, (SHORT, 4096)),
        (facts(), True, 0, 1000 + 2 * 4096 + 3 * SHORT - 1, (4096,)),
        (facts(state_bytes=9), True, 0, 1000 + 2 * 4096 + 3 * SHORT + 45, (SHORT, 4096)),
        (facts(state_bytes=9), True, 0, 1000 + 2 * 4096 + 3 * SHORT + 44, (4096,)),
    ],
)
def test_lengths(model_facts, movable, gpu_layers, available, expected):
    """It starts short where the state can be moved, and both contexts and a slot's state fit."""
    model = SimpleNamespace(movable_cache=movable, sliding_window=0)
    found = lengths(model_facts, model, slots=2, gpu_layers=gpu_layers, available_memory=available)
    assert found == expected


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        (1000 + 2 * 4096 + 10 * SHORT, (SHORT, 2 * SHORT, 4096)),
        (1000 + 2 * 4096 + 10 * SHORT - 1, (SHORT, 4096)),
        (1000 + 2 * 4096 + 5 * SHORT - 1, (4096,)),
    ],
)
def test_sliding_window_needs_room_for_the_state_of_all_slots(available, expected):
    """It is split beside both contexts, and the state of one slot beside it."""
    model = SimpleNamespace(movable_cache=True, sliding_window=512)
    found = lengths(facts(), model, slots=2, gpu_layers=0, available_memory=available)
    assert found == expected


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        (1000 + 2 * 4096 + 3 * SHORT + 2 * 10 * 4096, (SHORT, 4096)),
        (1000 + 2 * 4096 + 3 * SHORT + 2 * 10 * 4096 - 1, (4096,)),
    ],
)
def test_draft_model_leaves_room_for_the_model_to_grow(monkeypatch, available, expected):
    """It is loaded while the model's own context is short, and would take that for free memory."""
    monkeypatch.setattr(draft_load, "available_memory", lambda: available)
    monkeypatch.setattr(draft_load, "AbortFlag", lambda _: FakeFlag())
    monkeypatch.setattr(draft_load, "GrowingContext", lambda *_, lengths, **__: lengths)
    small = SimpleNamespace(movable_cache=True, sliding_window=0, lib=None)
    model = facts(kv_bytes_per_token=10)
    assert draft_load._context(facts(), small, model, LoadOptions(parallel=2), 1) == expected


@pytest.mark.parametrize(
    ("baked", "expected"),
    [
        (SHORT // 2, (SHORT, 2 * SHORT, 4096)),
        (SHORT // 2 + 1, (2 * SHORT, 4096)),
        (SHORT + 1, (4096,)),
    ],
)
def test_a_long_baked_prompt_starts_longer(baked, expected):
    """Each request would need the longer context at once."""
    model = SimpleNamespace(movable_cache=True, sliding_window=0)
    found = lengths(facts(), model, slots=2, gpu_layers=0, available_memory=None, baked=baked)
    assert found == expected


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (0, (SHORT, 2 * SHORT, 4096)),
        (SHORT - 256, (SHORT, 2 * SHORT, 4096)),
        (SHORT - 255, (2 * SHORT, 4096)),
        (2 * SHORT - 255, (4096,)),
    ],
)
def test_it_starts_as_long_as_the_first_request_is_expected_to_need(tokens, expected):
    model = SimpleNamespace(movable_cache=True, sliding_window=0)
    found = lengths(facts(), model, slots=2, gpu_layers=0, available_memory=None, expected=tokens)
    assert found == expected


# With a real model: spark, of whose 1,024 tokens a quarter is short


@pytest.fixture
def load(monkeypatch):
    engines = []

    def load(short):
        monkeypatch.setattr(context_lengths, "SHORT", short)
        backend = LlamaCppBackend()
        facts = backend.probe(backend.embedded())
        options = LoadOptions(parallel=2, chunk=64)
        engines.append(backend.load(facts, options, lambda _: None))
        return engines[-1]

    yield load
    for engine in engines:
        engine.close()


def length(engine):
    return engine._context._context.length


def answer(engine, text, max_tokens=300):
    prompt = engine.tokenize(text, special=True)
    return Answer(engine, prompt, max_tokens=max_tokens, ignore_eos=True, sampling=GREEDY)


COUNT = (
    "<|im_start|>user\nCount from 1 to 90.<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n\n</think>\n\n"
)


@pytest.mark.slow
def test_answers_do_not_change_where_it_grows(load):
    """Two streams are in the middle of their answers when it does; both are the same to the bit."""
    growing, full = load(256), load(1024)
    assert (length(growing), length(full)) == (256, 1024)
    other = COUNT.replace("90", "80")
    for engine in (growing, full):
        engine.told = [answer(engine, text) for text in (COUNT, other)]
        for one in engine.told:
            assert one.last
    assert length(growing) > 256
    assert [one.tokens for one in growing.told] == [one.tokens for one in full.told]


def test_a_long_prompt_is_read_whole(load):
    """One that needs the long context from the start, and the next turn that continues it."""
    growing, full = load(256), load(1024)
    text = COUNT.replace("Count", "one two three " * 60 + "Count")
    for engine in (growing, full):
        first = answer(engine, text, max_tokens=8)
        assert first.last
        second = answer(engine, text + "1, 2, 3", max_tokens=8)
        engine.told = (first.tokens, second.tokens)
        assert second.last.usage.cached_tokens > 256
    assert growing.told == full.told


def test_a_request_fails_alone_where_it_cannot_grow(load, monkeypatch):
    """One that stays short goes on beside it."""
    engine = load(256)

    def refuse(_length):
        raise LoadFailed("no memory")

    monkeypatch.setattr(engine._context, "_make", refuse)
    long, short = answer(engine, COUNT), answer(engine, COUNT, max_tokens=20)
    assert len(short.tokens) == 20
    assert isinstance(long.last, Failed)
    assert isinstance(long.last.error, InferenceFailed)
    assert str(long.last.error).startswith("the context cannot grow to 512 tokens a slot")
