"""The fake's engine that ranks: a document's score is its share of the query's pairs of letters."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from pilotlight_backend.protocols import Ticket
from pilotlight_backend.testing.fake_pooling_engine import FakePoolingEngine
from pilotlight_backend.types import RankEvent, Scored, TokenizedPairs


class FakeRankingEngine(FakePoolingEngine):
    """A loaded fake model that ranks. A pair is the query and the document, each with its end."""

    def tokenize_pairs(self, query: str, documents: Sequence[str]) -> TokenizedPairs:
        """Return the ids of the texts, in which names of special tokens are text."""
        end, encode = self._end_ids, self._tokenizer.encode
        first = encode(query, special=False) + end
        pairs = [first + encode(one, special=False) + end for one in documents]
        return TokenizedPairs(pairs, len(first) + len(end), len(end))

    def rank(self, pairs: Sequence[Sequence[int]], emit: Callable[[RankEvent], None]) -> Ticket:
        """Queue *pairs*; see `RankingEngine.rank`."""
        return self._submit(pairs, emit)

    def output_of(self, tokens: Sequence[int]) -> Scored:
        """Return the score of a pair, between -4 and 4 if it is a logit."""
        share = share_of(tokens, self._end_ids)
        return Scored(share if self.facts.relevance == "probability" else 8 * share - 4)


def share_of(tokens: Sequence[int], end: Sequence[int]) -> float:
    """Return which part of the query's neighbouring ids the document in *tokens* has as well.

    A longer document with as many has a little less, so that few scores are equal.
    """
    at = tokens.index(end[0]) if end and end[0] in tokens else len(tokens)
    asked, found = set(pairwise(tokens[:at])), set(pairwise(tokens[at + 1 :]))
    shared = len(asked & found) / len(asked) if asked else 0.0
    return shared * math.exp(-len(tokens) / 1e6)
