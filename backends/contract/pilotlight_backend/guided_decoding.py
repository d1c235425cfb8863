"""Applies a guide to a row of logits, in the same way for every backend. Needs numpy."""

from collections.abc import Sequence

import numpy as np

from pilotlight_backend.errors import GuideFailed
from pilotlight_backend.forcing import failures
from pilotlight_backend.guide import Guide
from pilotlight_backend.logits import Logits


def restrict(guide: Guide, logits: Logits, suppressed: Sequence[int] = ()) -> None:
    """Let *guide* restrict one row of logits, and exclude the *suppressed* tokens, in place.

    Raises `GuideFailed` for whatever the guide raises, and where no token is left: sampling would
    return some token all the same.
    """
    with failures():
        guide.restrict(logits)
    if suppressed:
        logits[list(suppressed)] = -np.inf
    if np.isneginf(logits.max()):
        raise GuideFailed("the guide allows no token that the model may sample")


def withhold(logits: Logits, ends: Sequence[int]) -> None:
    """Exclude *ends* from one row of logits, unless a guide allows nothing else."""
    tokens = list(ends)
    kept = logits[tokens]
    logits[tokens] = -np.inf
    if np.isneginf(logits.max()):
        logits[tokens] = kept


def accept(guide: Guide, token: int, logits: Logits) -> None:
    """Let *guide* accept the *token* sampled from the restricted *logits*. Raises `GuideFailed`."""
    if np.isneginf(logits[token]):
        raise GuideFailed(f"sampled token {token}, which the guide does not allow")
    with failures():
        guide.accept(token)
