"""What becomes of a row of scores: guide, ends, sampling and log probabilities together."""

import numpy as np
import pytest

from pilotlight_backend import GenerateRequest, GuideFailed, InferenceFailed, SamplingParams
from pilotlight_backend.token_sampler import TokenSampler
from tests.backends.contract.test_guided_decoding import Only

END = 0
GREEDY = SamplingParams(temperature=0.0)


def sampler(**fields):
    given = {"prompt": (1,), "max_tokens": 8, "sampling": GREEDY} | fields
    return TokenSampler(GenerateRequest(**given), ends=(END,), context_length=64)


def choices(one, count, *scores):
    return [one.sample(row(*scores), piece).id for _ in range(count)]


def row(*scores):
    return np.array(scores, dtype=np.float32)


def piece(token):
    return b"%d" % token


def test_the_likeliest_comes_with_its_bytes():
    token = sampler().sample(row(1, 3, 2), piece)
    assert (token.id, token.piece, token.logprob, token.candidates) == (1, b"1", None, ())


def test_an_end_comes_unless_it_is_ignored():
    assert choices(sampler(), 2, 3, 2, 1) == [END, END]
    assert choices(sampler(ignore_eos=True), 2, 3, 2, 1) == [1, 1]


def test_ends_and_stops_come_after_min_tokens():
    one = sampler(min_tokens=2, stop_token_ids=frozenset({1}))
    assert choices(one, 4, 3, 2, 1) == [2, 2, END, END]
    one = sampler(min_tokens=1, stop_token_ids=frozenset({1}), ignore_eos=True)
    assert choices(one, 2, 3, 2, 1) == [2, 1]


def test_an_end_comes_where_the_guide_leaves_nothing_else():
    assert choices(sampler(ignore_eos=True, guide=Only(END)), 1, 3, 2, 1) == [END]


def test_the_guide_is_told_each_choice():
    guide = Only(0, 2)
    assert choices(sampler(ignore_eos=True, guide=guide), 2, 3, 2, 1) == [2, 2]
    assert guide.accepted == [2, 2]


def test_log_probabilities_are_from_before_the_guide_and_the_ends():
    token = sampler(logprobs=2, ignore_eos=True, guide=Only(0, 2)).sample(row(3, 2, 1), piece)
    total = np.log(np.exp([3, 2, 1]).sum())
    assert token.id == 2
    assert token.logprob == pytest.approx(1 - total)
    assert [(one.id, one.piece) for one in token.candidates] == [(0, b"0"), (1, b"1")]
    assert token.candidates[0].logprob == pytest.approx(3 - total)


def test_a_row_is_kept_where_log_probabilities_are_read_from_it():
    logits = row(3, 2, 1)
    sampler(logprobs=0, ignore_eos=True).sample(logits, piece)
    assert logits.tolist() == [3, 2, 1]


def test_a_guide_that_leaves_nothing_fails():
    with pytest.raises(GuideFailed, match="allows no token"):
        sampler(guide=Only()).sample(row(3, 2, 1), piece)


def test_scores_that_are_no_numbers_fail():
    with pytest.raises(InferenceFailed, match="not finite"):
        sampler().sample(row(np.nan, 1, 2), piece)


def test_a_failed_choice_counts_for_nothing():
    """What was not chosen is no token of the min_tokens."""
    guide = Only()
    one = sampler(min_tokens=1, guide=guide)
    with pytest.raises(GuideFailed):
        one.sample(row(3, 2, 1), piece)
    guide.allowed = [END, 1, 2]
    assert choices(one, 2, 3, 2, 1) == [1, END]
