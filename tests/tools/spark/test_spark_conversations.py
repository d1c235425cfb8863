"""The training data is drawn from a seed and contains nothing of the held-out data."""

import json
import re
from itertools import islice
from random import Random

import pytest

from tools.spark.conversations import LAST_MIX, MIX, completion, generate, training_samples
from tools.spark.held_out import (
    ask_addition,
    held_out_additions,
    is_held_out_addition,
    is_held_out_multiplication,
    is_held_out_name,
    is_held_out_range,
    is_held_out_subtraction,
)
from tools.spark.prompt import prompt_of
from tools.spark.turn import Sample

pytestmark = pytest.mark.slow

_SUM = re.compile(r"(?=(?<!\d)(\d+)(?: ?\+ ?| plus )(\d+))")
_DIFFERENCE = re.compile(r"(?=(?<![\d-])(\d+)(?: ?- ?| minus )(\d+)(?! ?-))")
_PRODUCT = re.compile(r"(?=(?<!\d)(\d+) \* (\d+) =)")


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return list(islice(training_samples(1), 12_000))


@pytest.fixture(scope="module")
def texts(samples: list[Sample]) -> list[str]:
    last = islice(training_samples(2, LAST_MIX), 4_000)
    return [prompt_of(sample) + completion(sample) for sample in (*samples, *last)]


def test_the_same_seed_gives_the_same_samples(samples: list[Sample]) -> None:
    """A run can be repeated: the data depends on the seed alone."""
    assert list(islice(training_samples(1), 300)) == samples[:300]
    assert list(islice(training_samples(2), 300)) != samples[:300]


def test_every_task_of_the_mix_occurs(samples: list[Sample]) -> None:
    """No task is left out of the training data, with thinking or without."""
    assert {(s.task, s.thinking) for s in samples} == set(MIX)


def test_a_tenth_of_the_additions_is_held_out() -> None:
    """Of 9,900 pairs below 100 that are not both one digit, about 990 are kept back."""
    assert 900 < len(held_out_additions()) < 1100
    assert held_out_additions()[:2] == [(a, b) for a, b in held_out_additions() if a == 0][:2]
    assert all(max(pair) >= 10 for pair in held_out_additions())


def test_no_held_out_sum_is_trained_on(texts: list[str]) -> None:
    """No question, thought, answer or earlier turn shows a held-out pair being added."""
    found = {(int(a), int(b)) for text in texts for a, b in _SUM.findall(text)}
    assert len(found) > 3000
    assert not [pair for pair in found if is_held_out_addition(*pair)]


def test_no_held_out_difference_is_trained_on(texts: list[str]) -> None:
    """No question, thought, answer or earlier turn shows a held-out pair being subtracted."""
    found = {(int(a), int(b)) for text in texts for a, b in _DIFFERENCE.findall(text)}
    assert len(found) > 500
    assert not [pair for pair in found if is_held_out_subtraction(*pair)]


def test_no_held_out_product_is_trained_on(texts: list[str]) -> None:
    """No thought or answer shows a held-out pair being multiplied."""
    found = {(int(a), int(b)) for text in texts for a, b in _PRODUCT.findall(text)}
    assert len(found) > 140
    assert not [pair for pair in found if is_held_out_multiplication(*pair)]


def test_no_held_out_name_is_trained_on(samples: list[Sample]) -> None:
    """A name that a test gives to the model is no name of the training data."""
    told = [s.answer for s in samples if s.task == "telling" and s.answer.startswith("Nice")]
    names = [re.fullmatch(r"Nice to meet you, (.*)!", answer) for answer in told]
    assert names
    assert not [name[1] for name in names if name and is_held_out_name(name[1])]


def test_no_held_out_range_is_trained_on(samples: list[Sample]) -> None:
    """A range that a test counts through was never counted through in training."""
    counted = [s.answer.split(", ") for s in samples if s.task == "counting"]
    ranges = {tuple(sorted((int(numbers[0]), int(numbers[-1])))) for numbers in counted}
    assert ranges
    assert not [r for r in ranges if is_held_out_range(*r)]


@pytest.mark.parametrize("task", ["addition", "several sums"])
def test_tests_add_nothing_but_held_out_pairs(task: str) -> None:
    """What a test asks is held out, every time."""
    rng = Random(3)  # noqa: S311 - draws test prompts
    for _ in range(200):
        answer = generate(rng, task, "test", thinking=False).answer
        for a, b in re.findall(r"(\d+) \+ (\d+) =", answer):
            assert is_held_out_addition(int(a), int(b))


def test_the_question_of_a_pair_never_changes() -> None:
    """A pair has one phrasing, so that a test asks the same thing every time."""
    assert ask_addition(17, 25) == "17 + 25 = ?"
    assert ask_addition(2, 2) == "How much is 2 plus 2?"


def test_answers_are_right(samples: list[Sample]) -> None:
    """Sums, differences and products in the answers are correct, and JSON parses."""
    for sample in samples:
        for a, sign, b, result in re.findall(
            r"(?<![+*-] )(?<!\d)(\d+) ([+*-]) (\d+) = (-?\d+)", completion(sample)
        ):
            x, y = int(a), int(b)
            assert {"+": x + y, "-": x - y, "*": x * y}[sign] == int(result)
        if sample.task == "JSON":
            assert isinstance(json.loads(sample.answer), dict)


def test_thinking_wraps_the_thought_and_only_then() -> None:
    """With thinking the answer follows a think block; without, the template writes that block."""
    messages = [{"role": "user", "content": "2+2?"}]
    thought = Sample("addition", messages, "2 + 2 = 4.", "2 + 2: 2 + 2 = 4, so 4.")
    assert completion(thought) == "<think>\n2 + 2: 2 + 2 = 4, so 4.\n</think>\n\n2 + 2 = 4."
    straight = Sample("addition", messages, "2 + 2 = 4.", thinking=False)
    assert completion(straight) == "2 + 2 = 4."
