"""The fake's engine that embeds: vectors made of the ids."""

import math
from array import array
from collections.abc import Callable, Sequence

from pilotlight_backend.protocols import Ticket
from pilotlight_backend.testing.fake_pooling_engine import FakePoolingEngine
from pilotlight_backend.types import Embedded, EmbedEvent
from pilotlight_backend.vectors import normalize


class FakeEmbeddingEngine(FakePoolingEngine):
    """A loaded fake model that embeds."""

    def tokenize_input(self, text: str) -> list[int]:
        """Return the ids of *text*, with the end token behind them."""
        return self._tokenizer.encode(text, special=True) + self._end_ids

    def embed(self, inputs: Sequence[Sequence[int]], emit: Callable[[EmbedEvent], None]) -> Ticket:
        """Queue *inputs*; see `EmbeddingEngine.embed`."""
        return self._submit(inputs, emit)

    def output_of(self, tokens: Sequence[int]) -> Embedded:
        """Return the vector of *tokens*."""
        return Embedded(vector_of(tokens, self.facts.embedding_length))


def vector_of(tokens: Sequence[int], length: int) -> "array[float]":
    """Return the vector of *tokens*: another one for another order, and of length 1."""

    def number(index: int) -> float:
        return math.fsum(
            math.sin((index + 1) * (token + 1) * place) for place, token in enumerate(tokens, 1)
        )

    return normalize([number(index) for index in range(length)])
