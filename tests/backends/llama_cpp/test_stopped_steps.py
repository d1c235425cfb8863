"""Steps that are stopped in the middle, on a model whose prompts take seconds."""

import dataclasses
import logging
import threading

import pytest
from msgspec.structs import replace

from benchmarks import random_gguf
from pilotlight_backend import EngineClosed, Failed, Finish, LoadOptions
from pilotlight_backend.testing.conformance.listener import eventually
from pilotlight_backend.testing.conformance.prefilling import PrefillConformance
from pilotlight_isolation.backend import IsolatedBackend
from pilotlight_llama_cpp.backend import LlamaCppBackend
from tests.backends.answer import GREEDY, Answer, prompt_of

pytestmark = pytest.mark.slow

LENGTH = 3000
"""Tokens that are evaluated in one step: two seconds of one thread."""
OPTIONS = LoadOptions(parallel=2, context_length=4096, chunk=4096, threads=1, deterministic=True)
SLOW = dataclasses.replace(
    random_gguf.TINY, layers=8, weights="Q8_0", context_length=4096, vocabulary=512
)


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "slow.gguf"
    random_gguf.write(path, SLOW, seed=4)
    return path


@pytest.fixture(params=["full attention", "window"])
def path(request, plain, family):
    return plain if request.param == "full attention" else family("gemma3")


def load(path, options=OPTIONS, backend=None):
    backend = backend or LlamaCppBackend()
    return backend.load(backend.probe(path), options, lambda _: None)


def reading(engine, **fields):
    """Return a request whose prompt is being evaluated, behind what slots hold."""
    answer = Answer(engine, max_tokens=4, sampling=GREEDY, **fields)
    assert eventually(lambda: any(step.tokens > LENGTH // 2 for step in engine.stats().under_way))
    return answer


def test_stopped_prompt_leaves_its_slot_as_it_was(path, caplog):
    """Its history stays, is right to the bit, and another slot's is untouched."""
    caplog.set_level(logging.WARNING)
    engine = load(path)
    history, other = prompt_of(1, 300), prompt_of(2, 200)
    for prompt in (history, other):
        assert len(Answer(engine, prompt, max_tokens=4, sampling=GREEDY).tokens) == 4
    before = engine.stats().prompt_tokens
    caplog.clear()
    stopped = reading(engine, prompt=[*history, *prompt_of(3, LENGTH)])
    stopped.ticket.cancel()
    assert stopped.last.reason == "cancelled"
    assert engine.stats().prompt_tokens == before
    assert not caplog.records
    turns = [[*history, *prompt_of(4, 40)], [*other, *prompt_of(5, 40)]]
    answers = [Answer(engine, turn, logprobs=2, sampling=GREEDY) for turn in turns]
    tokens = [answer.tokens for answer in answers]
    assert [answer.last.usage.cached_tokens for answer in answers] == [300, 200]
    engine.close()
    fresh = load(path)
    assert tokens == [Answer(fresh, turn, logprobs=2, sampling=GREEDY).tokens for turn in turns]
    fresh.close()


@pytest.mark.parametrize("architecture", ["qwen35", "lfm2", "mamba2"])
def test_stopped_state_is_computed_anew(family, architecture):
    """A recurrent state that was advanced is of no use; another slot's is continued."""
    engine = load(family(architecture))
    history, other = prompt_of(1, 300), prompt_of(2, 200)
    for held in (history, other):
        held.extend(Answer(engine, held, max_tokens=4, sampling=GREEDY).tokens)
    stopped = reading(engine, prompt=[*history, *prompt_of(3, LENGTH)])
    stopped.ticket.cancel()
    assert stopped.last.reason == "cancelled"
    turns = [[*history, *prompt_of(4, 40)], [*other, *prompt_of(5, 40)]]
    answers = [Answer(engine, turn, sampling=GREEDY) for turn in turns]
    tokens = [answer.tokens for answer in answers]
    assert [answer.last.usage.cached_tokens for answer in answers] == [0, 203]
    engine.close()
    fresh = load(family(architecture))
    assert tokens[0] == Answer(fresh, turns[0], sampling=GREEDY).tokens
    fresh.close()


def test_prompt_is_not_stopped_while_another_request_is_in_its_step(plain):
    """A stream loses nothing by a neighbour that leaves."""
    engine = load(plain)
    alone = Answer(engine, prompt_of(1, 20), max_tokens=6, sampling=GREEDY).tokens
    stream = Answer(engine, prompt_of(1, 20), max_tokens=6, sampling=GREEDY)
    stopped = Answer(engine, prompt_of(2, LENGTH), max_tokens=4, sampling=GREEDY)
    stopped.ticket.cancel()
    assert (stopped.last.reason, stream.tokens) == ("cancelled", alone)
    engine.close()


def test_closed_while_prompts_are_read(plain):
    """Each of the requests ends as closed, also the one that waits."""
    engine = load(plain)
    answers = [reading(engine, prompt=prompt_of(1, LENGTH))]
    answers += [Answer(engine, prompt_of(seed, LENGTH)) for seed in (2, 3)]
    engine.close()
    assert all(isinstance(answer.last.error, EngineClosed) for answer in answers)
    assert engine.stats().prompt_tokens == 0


class TestPrefill(PrefillConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return LlamaCppBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def model_path(cls, plain):
        return plain

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls):
        return OPTIONS


class TestPrefillInAProcessOfItsOwn(TestPrefill):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return IsolatedBackend(LlamaCppBackend())


@pytest.mark.parametrize("ends", ["cancel", "close"])
def test_embedding_of_a_long_input_is_stopped(tmp_path, ends):
    """The input's only request leaves, or the engine closes; else the next input is embedded."""
    path = tmp_path / "slow.gguf"
    random_gguf.write(path, dataclasses.replace(SLOW, pooling=3), seed=4)
    engine = load(path, replace(OPTIONS, chunk=LENGTH))
    events = []
    ended = threading.Event()

    def hear(event):
        events.append(event)
        if isinstance(event, Finish | Failed):
            ended.set()

    ticket = engine.embed([prompt_of(1, LENGTH)] * 20, hear)
    assert eventually(lambda: any(step.tokens > LENGTH // 2 for step in engine.stats().under_way))
    if ends == "close":
        engine.close()
        assert isinstance(events[-1].error, EngineClosed)
    else:
        ticket.cancel()
        assert ended.wait(10)
        assert events[-1].reason == "cancelled"
        ended.clear()
        engine.embed([prompt_of(2, 10)], hear)
        assert ended.wait(10)
        assert events[-1].reason == "stop"
        engine.close()
    assert engine.stats().prompt_tokens <= 10
