"""The language model: the likeliest answer repeats the user's last turn.

A `Cache` has a state for each token, as a transformer's KV cache has: evaluating a token needs only
the cache, which can be truncated, and copied to another sequence.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pilotlight_backend.logits import Logits
from pilotlight_echo.tokenizer import ASSISTANT, END, PIECES, USER


class State(NamedTuple):
    """The model's state after a token."""

    turn: int = 0
    """Where the turn to repeat starts; without a chat template the start of the text."""
    answering: bool = True
    repeated: int = 0
    """Tokens of the turn that the answer has repeated."""


class Cache:
    """The tokens of one sequence, and the state after each."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.states: list[State] = []

    def evaluate(self, tokens: Iterable[int]) -> None:
        """Append *tokens*."""
        for token in tokens:
            self.states.append(self._after(token))
            self.tokens.append(token)

    def copy(self, other: "Cache", length: int) -> None:
        """Take over the first *length* tokens of *other*, which may be this cache."""
        self.tokens, self.states = other.tokens[:length], other.states[:length]

    def expected(self) -> int:
        """Return the token that repeats the turn; after its text that is the turn's end token."""
        state = self.states[-1] if self.states else State()
        index = state.turn + state.repeated
        return self.tokens[index] if index < len(self.tokens) else END

    def _after(self, token: int) -> State:
        state = self.states[-1] if self.states else State()
        if token == USER:
            return State(turn=len(self.tokens) + 1, answering=False)
        if token == ASSISTANT:
            return State(state.turn, answering=True)
        if state.answering and token == self.expected():
            return state._replace(repeated=state.repeated + 1)
        return state  # another token was sampled: the turn continues after it


class Model:
    """Computes the logits of the next token."""

    def __init__(self, confidence: float) -> None:
        self._confidence = confidence
        # Where a guide excludes the expected token, these make the answer come to its end.
        self._prior = np.zeros(len(PIECES), dtype=np.float32)
        self._prior[:33] = -4  # control characters and the space
        self._prior[list(b"0123456789")] = 2
        self._prior[list(b'"]}')] = 4
        self._prior[END] = 6

    def logits(self, cache: Cache) -> Logits:
        """Return a new row: a logit for each token of the vocabulary."""
        logits = self._prior.copy()
        logits[cache.expected()] += self._confidence
        return logits
