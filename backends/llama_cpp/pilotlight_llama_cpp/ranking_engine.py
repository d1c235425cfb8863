"""The engine of a model that ranks."""

from collections.abc import Callable, Sequence

from pilotlight_backend import EngineStats, ModelFacts, RankEvent, Ticket, TokenizedPairs
from pilotlight_backend.validation import check_inputs
from pilotlight_llama_cpp.model import LlamaModel
from pilotlight_llama_cpp.pairs import PairTokenizer
from pilotlight_llama_cpp.pooling_context import RankingContext
from pilotlight_llama_cpp.pooling_thread import PoolingJob, PoolingThread


class LlamaCppRankingEngine:
    """Checks requests and submits them to its thread."""

    def __init__(self, facts: ModelFacts, model: LlamaModel, context: RankingContext) -> None:
        self._facts = facts
        self._model = model
        self._pairs = PairTokenizer(model)
        self._thread = PoolingThread(context)
        self._thread.start(facts.path.name)

    @property
    def facts(self) -> ModelFacts:
        """The model's facts, with the context length in force."""
        return self._facts

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return the token ids of *text*; with *special*, special tokens' names become ids."""
        return self._model.tokenize(text, special=special)

    def tokenize_pairs(self, query: str, documents: Sequence[str]) -> TokenizedPairs:
        """Return the token ids of *query* with each of *documents*."""
        return self._pairs(query, documents)

    def rank(self, pairs: Sequence[Sequence[int]], emit: Callable[[RankEvent], None]) -> Ticket:
        """Queue *pairs*; *emit* is called on the engine's thread."""
        check_inputs(
            pairs,
            context_length=self._facts.context_length,
            vocabulary_size=self._model.vocabulary_size,
        )
        job = PoolingJob(self._thread, tuple(pairs), emit)
        self._thread.submit(job)
        return job

    def stats(self) -> EngineStats:
        """Return a snapshot."""
        return self._thread.stats()

    def close(self) -> None:
        """Fail every request and free all memory; waits, except on the engine's own thread."""
        self._thread.close()
