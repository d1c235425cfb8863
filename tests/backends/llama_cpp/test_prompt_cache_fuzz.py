"""A few steps of `tests.fuzz.prompt_cache`, which is run by hand for longer."""

import pytest

from pilotlight_llama_cpp import context_lengths
from tests.fuzz import prompt_cache

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("architecture", ["qwen3", "gemma3", "lfm2"])
def test_random_conversations_have_the_answers_of_a_fresh_start(family, tmp_path, architecture):
    rounds = architecture in prompt_cache.ROUNDS
    totals = prompt_cache.run(family(architecture), tmp_path, steps=8, seed=3, rounds=rounds)
    # Which tier had it depends on the moment at which a request is cancelled.
    assert totals.cached_tokens > 0


@pytest.mark.parametrize("architecture", ["qwen3", "gemma3", "lfm2"])
def test_they_have_them_as_well_where_contexts_grow(family, tmp_path, monkeypatch, architecture):
    monkeypatch.setattr(context_lengths, "SHORT", 256)
    rounds = architecture in prompt_cache.ROUNDS
    totals = prompt_cache.run(family(architecture), tmp_path, steps=8, seed=3, rounds=rounds)
    assert totals.grown > 0
    assert totals.cached_tokens > 0
