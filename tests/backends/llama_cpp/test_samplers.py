"""Which thread makes a request's sampler, and what is kept of it."""

import threading

import pytest

from pilotlight_backend import SamplingParams
from pilotlight_llama_cpp.sampling import Samplers


class FakeLibrary:
    """llama.cpp's functions that make and free stages; each stage is a number."""

    def __init__(self):
        self.alive = {}
        """What each stage is of, and which thread made it."""
        self.prepared = []
        """The sequence breakers of each DRY stage that was made."""
        self.gate = threading.Event()
        self.gate.set()
        self._count = 0

    def __getattr__(self, name):
        if not name.startswith("llama_sampler_init_"):
            raise AttributeError(name)
        return lambda *_args: self._make(name.removeprefix("llama_sampler_init_"))

    def _make(self, name):
        self._count += 1
        self.alive[self._count] = name, threading.current_thread()
        return self._count

    def llama_sampler_init_dry(self, _vocab, _m, _base, _length, _last_n, breakers, count):
        assert self.gate.wait(10)
        self.prepared.append(tuple(text.decode() for text in breakers[:count]))
        return self._make("dry")

    def llama_sampler_clone(self, stage):
        assert stage in self.alive, "a freed stage is cloned"
        return self._make(f"{self.alive[stage][0]} clone")

    def llama_sampler_chain_default_params(self):
        return type("Params", (), {})()

    def llama_sampler_chain_init(self, _params):
        return self._make("chain")

    def llama_sampler_chain_add(self, chain, stage):
        self.alive[chain] = (*self.alive[chain], stage)

    def llama_sampler_accept(self, _chain, _token):
        pass

    def llama_sampler_free(self, stage):
        for one in (stage, *self.alive[stage][2:]):
            del self.alive[one]


class Model:
    """What samplers want to know of a model."""

    def __init__(self):
        self.lib = FakeLibrary()
        self.vocab, self.vocabulary_size, self.suppressed = None, 100, ()


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def samplers(model):
    samplers = Samplers(model, context_length=100)
    yield samplers
    model.lib.gate.set()
    samplers.close()
    assert model.lib.alive == {}, "something is not freed"


def dry(*breakers, **fields):
    return SamplingParams(
        temperature=0, dry_sequence_breakers=breakers, **{"dry_multiplier": 1, **fields}
    )


def make(samplers, params):
    samplers.make_beside(params, (1, 2, 3)).result(10).close()


def test_dry_is_prepared_and_cloned_on_another_thread(samplers, model):
    """The caller goes on meanwhile, and nothing of it is left to its thread."""
    model.lib.gate.clear()
    making = samplers.make_beside(dry("a", "b"), (1, 2, 3))
    assert not making.done()
    model.lib.gate.set()
    sampler = making.result(10)
    made_by = {thread for _, thread, *_ in model.lib.alive.values()}
    assert threading.current_thread() not in made_by
    assert model.lib.prepared == [("a", "b")]
    sampler.close()


def test_sampler_without_dry_is_made_at_once(samplers, model):
    """It needs no other thread, and none is started for it."""
    before = threading.active_count()
    params = SamplingParams(top_k=5, dry_sequence_breakers=("a",))
    assert samplers.make_beside(params, (1,)) is None
    samplers.make(params, (1,)).close()
    assert (model.lib.prepared, threading.active_count()) == ([], before)


def test_prepared_set_is_used_again(samplers, model):
    """Requests in turn with sixteen small sets find each of them prepared."""
    sets = [tuple(f"{number}{letter}" for letter in "abcd") for number in range(16)]
    for _ in range(3):
        for breakers in sets:
            make(samplers, dry(*breakers))
    assert model.lib.prepared == sets


@pytest.mark.parametrize(
    "field",
    [{"dry_multiplier": 2}, {"dry_base": 2}, {"dry_allowed_length": 3}, {"dry_penalty_last_n": 9}],
)
def test_set_with_other_parameters_is_another_one(samplers, model, field):
    """A prepared stage has all of them in it."""
    make(samplers, dry("a"))
    make(samplers, dry("a", **field))
    assert model.lib.prepared == [("a",), ("a",)]


@pytest.mark.parametrize(("size", "kept"), [(0, 64), (1, 64), (4, 16), (16, 4), (63, 1), (65, 0)])
def test_what_is_kept_is_bounded_by_its_breakers(samplers, model, size, kept):
    """The least recently used sets go first; one that is too large is not kept at all."""
    for number in range(kept + 3):
        make(samplers, dry(*(f"{each}" for each in range(size)), dry_base=1 + number))
    assert len(model.lib.alive) == kept


def test_close_waits_for_what_is_being_made(samplers, model):
    """The model is freed next; what waits behind it is not begun."""
    model.lib.gate.clear()
    making, waiting = (samplers.make_beside(dry(each), ()) for each in "ab")
    making.add_done_callback(lambda made: made.result().close())
    waiting.add_done_callback(lambda _: model.lib.gate.set())
    samplers.close()
    assert making.done()
    assert waiting.cancelled()
    assert model.lib.alive == {}
