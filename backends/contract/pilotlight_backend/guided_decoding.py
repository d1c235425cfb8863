"""How every backend lets a guide restrict a choice. Needs numpy, which backends bring."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from pilotlight_backend.errors import GuideFailed
from pilotlight_backend.guide import Guide
from pilotlight_backend.logits import Logits


def restrict(guide: Guide, logits: Logits, suppressed: Sequence[int] = ()) -> None:
    """Let *guide* restrict one row of scores, and leave out what the model must not say either.

    Raises `GuideFailed` for whatever the guide raises, and where it leaves nothing to choose:
    sampling would yield some token all the same.
    """
    with _at_work():
        guide.restrict(logits)
    if suppressed:
        logits[list(suppressed)] = -np.inf
    if np.isneginf(logits.max()):
        raise GuideFailed("the guide allows no token that the model may choose")


def withhold(logits: Logits, ends: Sequence[int]) -> None:
    """Leave *ends* out of one row of scores, unless a guide has left nothing else to choose."""
    tokens = list(ends)
    kept = logits[tokens]
    logits[tokens] = -np.inf
    if np.isneginf(logits.max()):
        logits[tokens] = kept


def accept(guide: Guide, token: int, logits: Logits) -> None:
    """Tell *guide* which *token* of the restricted *logits* was chosen. Raises `GuideFailed`."""
    if np.isneginf(logits[token]):
        raise GuideFailed(f"sampling chose token {token}, which the guide refuses")
    with _at_work():
        guide.accept(token)


@contextmanager
def _at_work() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise GuideFailed(f"the guide failed with {type(error).__name__}") from error
