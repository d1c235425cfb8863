"""What every backend does around a guide, on rows of scores."""

import numpy as np
import pytest

from pilotlight_backend import GuideFailed
from pilotlight_backend.guided_decoding import accept, restrict


class Only:
    """Allows some tokens."""

    def __init__(self, *allowed):
        self.allowed = list(allowed)
        self.accepted = []

    def restrict(self, logits):
        kept = logits[self.allowed]
        logits[:] = -np.inf
        logits[self.allowed] = kept

    def accept(self, token):
        self.accepted.append(token)


class Broken(Only):
    def restrict(self, logits):
        raise KeyError(logits.size)

    def accept(self, token):
        raise KeyError(token)


def row(*scores):
    return np.array(scores, dtype=np.float32)


def test_guide_leaves_what_it_allows():
    """The scores of what may come stay as they are."""
    logits = row(3, 2, 1)
    restrict(Only(1, 2), logits)
    assert logits.tolist() == [-np.inf, 2, 1]


def test_token_that_the_model_must_not_say_is_left_out_too():
    """Tokens that the model's authors forbid stay forbidden, even if a guide allows them."""
    logits = row(3, 2, 1)
    restrict(Only(1, 2), logits, suppressed=(1,))
    assert logits.tolist() == [-np.inf, -np.inf, 1]


def test_guide_that_allows_only_what_is_forbidden_fails():
    """Between the guide and the model's authors nothing is left, and nothing is made up."""
    with pytest.raises(GuideFailed, match="allows no token"):
        restrict(Only(1), row(3, 2, 1), suppressed=(1, 2))


def test_guide_that_allows_nothing_fails():
    """A row without any score is an error and not a choice."""
    with pytest.raises(GuideFailed, match="allows no token"):
        restrict(Only(), row(3, 2, 1))


def test_scores_that_are_no_numbers_are_not_the_guide_s_fault():
    """A broken model is left to be found where its tokens are drawn."""
    logits = row(np.nan, np.nan)
    restrict(Only(0), logits)
    assert np.isnan(logits[0])


def test_token_that_was_refused_is_not_accepted():
    """A guide does not accept a token that it has refused."""
    guide = Only(1)
    logits = row(3, 2, 1)
    restrict(guide, logits)
    with pytest.raises(GuideFailed, match="token 2"):
        accept(guide, 2, logits)
    assert guide.accepted == []
    accept(guide, 1, logits)
    assert guide.accepted == [1]


def test_what_a_guide_raises_is_told_as_its_cause():
    """Whatever a guide raises becomes one kind of error, which keeps it."""
    with pytest.raises(GuideFailed, match="the guide failed with KeyError") as caught:
        restrict(Broken(), row(1, 2))
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(GuideFailed, match="the guide failed with KeyError"):
        accept(Broken(), 1, row(1, 2))
