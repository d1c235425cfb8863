"""The embedded model says the same whichever backend runs it."""

from random import Random

import pytest

from pilotlight_backend import LoadOptions, Token
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_onnx.backend import OnnxBackend
from tests.backends.answer import GREEDY, Answer
from tools.spark.conversations import MIX, generate
from tools.spark.prompt import prompt_of

pytestmark = pytest.mark.slow

PROMPTS = 100
PARTED = 2
"""Answers that may differ: 2 %."""
TIE = 0.25
"""Between the logarithms of two probabilities, below which rounding decides."""


@pytest.fixture(scope="module")
def prompts():
    """Return test prompts of every task, with and without thinking, the same ones every time."""
    rng, kinds = Random(20), list(MIX)  # noqa: S311 - chosen for being repeatable
    return [
        prompt_of(generate(rng, task, "test", thinking=thinking))
        for task, thinking in (kinds[index % len(kinds)] for index in range(PROMPTS))
    ]


def load(backend):
    return backend.load(backend.probe(backend.embedded()), LoadOptions(), lambda _progress: None)


@pytest.fixture(scope="module")
def engines():
    """Return spark in each backend's engine."""
    pair = load(LlamaCppBackend()), load(OnnxBackend())
    yield pair
    for engine in pair:
        engine.close()


def ask(engine, prompt):
    return Answer(
        engine,
        engine.tokenize(prompt, special=True),
        max_tokens=200,
        ignore_eos=False,
        sampling=GREEDY,
        logprobs=2,
    )


def first_difference(one, other):
    """Return both tokens where two answers part; None stands for the end of one."""
    for pair in zip([*one.tokens, None], [*other.tokens, None], strict=False):
        if pair[0] != pair[1]:
            return pair
    return None


def margin(answer, other):
    """Return how much likelier the token was that *answer* has where the two part."""
    length = next(
        (n for n, (a, b) in enumerate(zip(answer.tokens, other.tokens, strict=False)) if a != b),
        min(len(answer.tokens), len(other.tokens)),
    )
    told = [event for event in answer.events if isinstance(event, Token)]
    if length == len(told):  # it ended, and the ending token is not told
        return 0.0
    best, second = told[length].candidates
    return best.logprob - second.logprob


def test_both_backends_give_the_same_answers(engines, prompts, record_testsuite_property):
    """Of 100 greedy answers 98 % are token for token the same; the others part at near ties.

    The weights are the same 8-bit numbers, but each runtime rounds activations and sums its way.
    """
    asked = [tuple(ask(engine, prompt) for engine in engines) for prompt in prompts]
    parted = [pair for pair in asked if first_difference(*pair)]
    record_testsuite_property("greedy_answers_alike", 1 - len(parted) / PROMPTS)
    assert len(parted) <= PARTED
    for one, other in parted:
        assert min(margin(one, other), margin(other, one)) < TIE


def test_both_backends_tokenize_alike(engines, prompts):
    """Every prompt, its special tokens included, is the same tokens in both."""
    llama_cpp, onnx = engines
    for prompt in prompts:
        tokens = llama_cpp.tokenize(prompt, special=True)
        assert onnx.tokenize(prompt, special=True) == tokens


@pytest.mark.parametrize("prompt", [[0], [0, 0], [5, 0], [5, 0, 0, 7]])
def test_the_token_that_pads_batches_is_a_token(engines, prompt):
    """A prompt that contains it, or ends in it, is continued like any other, by both alike."""
    one, other = (Answer(engine, prompt, max_tokens=3, sampling=GREEDY) for engine in engines)
    assert one.tokens == other.tokens
    assert len(one.tokens) == 3
