"""What is read out of logits alike by every backend. Needs numpy, which backends bring."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pilotlight_backend.types import Candidate, Token

Logits: TypeAlias = NDArray[np.float32]
Tokens: TypeAlias = NDArray[np.intp]

_BLOCK = 64


def largest(logits: Logits, count: int) -> Tokens:
    """Return the tokens of the *count* largest logits, the largest first.

    Of a large vocabulary only those are sorted that reach the count-th largest maximum of its
    blocks: as many blocks have one that large, so no other token can be among the largest. That
    takes a tenth of the time of `numpy.argpartition` on all.
    """
    blocks = logits.size // _BLOCK
    if count >= blocks:
        return np.argsort(-logits, kind="stable")[:count]
    maxima = logits[: blocks * _BLOCK].reshape(blocks, _BLOCK).max(axis=1)
    threshold = np.partition(maxima, blocks - count)[blocks - count] if count else np.inf
    tokens = np.flatnonzero(logits >= threshold)
    return tokens[np.argsort(-logits[tokens], kind="stable")[:count]]


def with_logprobs(token: int, logits: Logits, count: int, piece: Callable[[int], bytes]) -> Token:
    """Return *token* with its log probability and those of the *count* likeliest tokens."""
    peak = float(logits.max())
    total = peak + float(np.log(np.exp(logits - peak, dtype=np.float64).sum()))
    likeliest = tuple(
        Candidate(id=int(one), piece=piece(int(one)), logprob=float(logits[one]) - total)
        for one in largest(logits, count)
    )
    return Token(token, piece(token), float(logits[token]) - total, likeliest)
