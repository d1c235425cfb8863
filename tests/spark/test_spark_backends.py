"""The embedded model says the same whichever backend runs it."""

from random import Random

import pytest

from pilotlight_backend import LoadOptions
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_onnx.backend import OnnxBackend
from spark.conversations import MIX, generate
from spark.prompt import prompt_of
from tests.backends.answer import GREEDY, Answer

PROMPTS = 200
LEAST = 0.98


@pytest.fixture(scope="module")
def prompts():
    """Return test prompts of every task, with and without thinking, the same ones every time."""
    rng, kinds = Random(20), list(MIX)  # noqa: S311 - chosen for being repeatable
    return [
        prompt_of(generate(rng, task, "test", thinking=thinking))
        for task, thinking in (kinds[index % len(kinds)] for index in range(PROMPTS))
    ]


def answers(backend, prompts):
    """Return the greedy tokens of each prompt's answer."""
    engine = backend.load(backend.probe(backend.embedded()), LoadOptions(), lambda _progress: None)
    given = [
        Answer(
            engine,
            engine.tokenize(prompt, special=True),
            max_tokens=200,
            ignore_eos=False,
            sampling=GREEDY,
        )
        for prompt in prompts
    ]
    said = [answer.tokens for answer in given]
    engine.close()
    return said


def test_both_backends_give_the_same_answers(prompts, record_property):
    """Of 200 greedy answers at least 98 % are token for token the same."""
    pairs = zip(answers(LlamaCppBackend(), prompts), answers(OnnxBackend(), prompts), strict=True)
    rate = sum(one == other for one, other in pairs) / PROMPTS
    record_property("same", rate)
    assert rate >= LEAST
