"""Several answers to one prompt take it once, in each real backend."""

from typing import Any

import httpx
import pytest

from tests.conftest import CHAT, chat

STORY = "Once upon a time there was a lamp. " * 40
"""Some five hundred tokens."""


def evaluated(spark: Any) -> int:
    """Return how many prompt tokens spark has evaluated so far."""
    stats = spark.on_loop(spark.app.state.service.pool.use)["spark"].stats
    return stats.prompt_tokens


@pytest.mark.parametrize("temperature", [0, 1])
def test_four_answers_to_a_long_prompt(spark: Any, temperature: int):
    """With `n=4` the prompt is evaluated once, and counts once in the usage."""
    text = f"{temperature}. {STORY}"  # a beginning that no slot holds yet
    before = evaluated(spark)

    response = httpx.post(
        spark.url + CHAT,
        json=chat("spark", text, n=4, max_tokens=8, temperature=temperature, seed=1),
        timeout=120,
    )

    answer = response.json()
    usage = answer["usage"]
    assert len(answer["choices"]) == 4
    assert usage["prompt_tokens"] > 400
    assert usage["prompt_tokens_details"]["cached_tokens"] < 40
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] <= 4 * 8
    # Each of the others evaluates the prompt's last tokens for its own logits.
    assert evaluated(spark) - before <= usage["prompt_tokens"] + 3 * 16
    if temperature == 0:
        assert len({choice["message"]["content"] for choice in answer["choices"]}) == 1


def test_four_answers_are_those_of_one(spark: Any):
    """What an answer says does not depend on sharing its prompt."""
    ask = {"max_tokens": 8, "temperature": 0}
    alone = httpx.post(spark.url + CHAT, json=chat("spark", STORY, **ask), timeout=120).json()

    four = httpx.post(spark.url + CHAT, json=chat("spark", STORY, n=4, **ask), timeout=120).json()

    said = alone["choices"][0]["message"]
    assert [choice["message"] for choice in four["choices"]] == [said] * 4
