"""A context that starts short: when it grows, what it carries over, where it starts long."""

import threading
from types import SimpleNamespace

import pytest

from pilotlight_backend import Failed, InferenceFailed, LoadFailed, LoadOptions, ModelFacts
from pilotlight_llama_cpp import growing_context
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_llama_cpp.batch import Decoded
from pilotlight_llama_cpp.growing_context import SHORT, GrowingContext, starts_short
from tests.backends.answer import GREEDY, Answer
from tests.backends.llama_cpp.fake_decoder import FakeFlag

FULL = 4 * SHORT


class FakeContext:
    """Holds the tokens that each slot was given."""

    def __init__(self, length):
        self.length = length
        self.slots = {}
        self.copies = {}
        self.closed = False
        self.loses = False
        """Whether a state that is put is refused."""

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

    def put(self, slot, state):
        self.slots[slot] = [] if self.loses else list(state)
        return self.held(slot)

    def truncate(self, slot, length):
        del self.slots.setdefault(slot, [])[length:]
        if not length:
            self.copies.pop(slot, None)
        return True

    def copy(self, source, target, length, _state=None):
        """Copy at the next decode, as llama.cpp does; until then nobody may ask what is held."""
        held = self.held(source)
        self.slots[target] = [None] * min(length, held)
        self.copies[target] = (source, length)
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
        context.loses = bool(self.made) and self.loses
        self.made.append(context)
        return context


def run(slot, start, count, token=7):
    return SimpleNamespace(slot=slot, start=start, tokens=(token,) * count, sampled=True)


@pytest.fixture
def fakes():
    return Fakes()


@pytest.fixture
def growing(fakes):
    context = GrowingContext(fakes.model, FakeFlag(), fakes.make, slots=2, length=FULL, short=True)
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
    """The long context holds what the short one did, and the short one is freed."""
    growing.decode([run(0, 0, 600, token=1), run(1, 0, 30, token=2)])
    assert growing.decode([run(0, 600, 500, token=3)]) is Decoded.DONE
    short, full = fakes.made
    assert (short.closed, full.length) == (True, FULL)
    assert full.slots == {0: [1] * 600 + [3] * 500, 1: [2] * 30}
    assert growing.decode([run(0, 1100, 500), run(1, 30, 1)]) is Decoded.DONE
    assert len(fakes.made) == 2


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
    """A long prompt announces itself; until it needs the room, nobody waits."""
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
    assert growing.decode([run(0, SHORT, 1)]) is Decoded.REFUSED
    assert growing.decode([run(1, 3, 1)]) is Decoded.DONE
    fakes.error = None
    assert growing.decode([run(0, SHORT, 1)]) is Decoded.DONE
    assert len(fakes.made) == 2


def test_a_state_that_does_not_fit_is_never_half_used(fakes, growing):
    """The short context goes on with what it has."""
    fakes.loses = True
    growing.decode([run(0, 0, SHORT)])
    assert growing.decode([run(0, SHORT, 1)]) is Decoded.REFUSED
    assert not fakes.made[0].closed
    assert fakes.made[1].closed
    assert growing.truncate(0, 10)
    assert growing.decode([run(0, 10, 1)]) is Decoded.DONE
    fakes.made.pop(1)


def test_closing_waits_for_the_one_that_is_being_made(fakes):
    """Nothing is left of it."""
    context = GrowingContext(fakes.model, FakeFlag(), fakes.make, slots=1, length=FULL, short=True)
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


def facts(context_length=4096, size_bytes=1000, kv_bytes_per_token=1):
    return ModelFacts(
        path="m",
        architecture="qwen3",
        context_length=context_length,
        size_bytes=size_bytes,
        kv_bytes_per_token=kv_bytes_per_token,
    )


@pytest.mark.parametrize(
    ("model_facts", "movable", "gpu_layers", "available", "short"),
    [
        (facts(), True, 0, None, True),
        (facts(2 * SHORT), True, 0, None, True),
        (facts(2 * SHORT - 1), True, 0, None, False),
        (facts(), False, 0, None, False),
        (facts(), True, -1, None, False),
        (facts(), True, 0, 1000 + 2 * (4096 + SHORT), True),
        (facts(), True, 0, 1000 + 2 * (4096 + SHORT) - 1, False),
    ],
)
def test_where_it_starts_short(model_facts, movable, gpu_layers, available, short):
    """Where it saves half or more, the state can be moved, and there is room for both."""
    model = SimpleNamespace(movable_cache=movable)
    told = starts_short(
        model_facts, model, slots=2, gpu_layers=gpu_layers, available_memory=available
    )
    assert told is short


@pytest.mark.parametrize(("baked", "short"), [(SHORT // 2, True), (SHORT // 2 + 1, False)])
def test_a_long_baked_prompt_starts_long(baked, short):
    """Each request would need the long context at once."""
    model = SimpleNamespace(movable_cache=True)
    told = starts_short(facts(), model, slots=2, gpu_layers=0, available_memory=None, baked=baked)
    assert told is short


# With a real model: spark, of whose 1,024 tokens a quarter is short


@pytest.fixture
def load(monkeypatch):
    engines = []

    def load(short):
        monkeypatch.setattr(growing_context, "SHORT", short)
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


def test_answers_do_not_change_where_it_grows(load):
    """Two streams are in the middle of their answers when it does; both are the same to the bit."""
    growing, full = load(256), load(1024)
    assert (length(growing), length(full)) == (256, 1024)
    other = COUNT.replace("90", "80")
    for engine in (growing, full):
        engine.told = [answer(engine, text) for text in (COUNT, other)]
        for one in engine.told:
            assert one.last
    assert length(growing) == 1024
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
