"""The engine of a model that ranks."""

from collections.abc import Callable, Sequence

from pilotlight_backend import ModelFacts, RankEvent, Ticket, TokenizedPairs
from pilotlight_llama_cpp.model import LlamaModel
from pilotlight_llama_cpp.pairs import PairTokenizer
from pilotlight_llama_cpp.pooling_context import RankingContext
from pilotlight_llama_cpp.pooling_engine import LlamaCppPoolingEngine


class LlamaCppRankingEngine(LlamaCppPoolingEngine):
    """An engine that ranks."""

    def __init__(self, facts: ModelFacts, model: LlamaModel, context: RankingContext) -> None:
        self._pairs = PairTokenizer(model)
        super().__init__(facts, model, context)

    def tokenize_pairs(self, query: str, documents: Sequence[str]) -> TokenizedPairs:
        """Return the token ids of *query* with each of *documents*."""
        return self._pairs(query, documents)

    def rank(self, pairs: Sequence[Sequence[int]], emit: Callable[[RankEvent], None]) -> Ticket:
        """Queue *pairs*; *emit* is called on the engine's thread."""
        return self._submit(pairs, emit)
