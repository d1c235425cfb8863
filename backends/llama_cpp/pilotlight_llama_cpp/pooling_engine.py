"""What the engines of models that embed and of models that rank share."""

from collections.abc import Callable, Sequence
from typing import Any

from pilotlight_backend import EngineStats, ModelFacts, Ticket
from pilotlight_backend.validation import check_inputs
from pilotlight_llama_cpp.model import LlamaModel
from pilotlight_llama_cpp.pooling_context import EmbeddingContext, RankingContext
from pilotlight_llama_cpp.pooling_thread import PoolingJob, PoolingThread


class LlamaCppPoolingEngine:
    """Checks requests and submits them to its thread."""

    def __init__(
        self, facts: ModelFacts, model: LlamaModel, context: EmbeddingContext | RankingContext
    ) -> None:
        self._facts = facts
        self._model = model
        self._thread = PoolingThread(context)
        self._thread.start(facts.path.name)

    @property
    def facts(self) -> ModelFacts:
        """The model's facts, with the context length in force."""
        return self._facts

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return the token ids of *text*; with *special*, special tokens' names become ids."""
        return self._model.tokenize(text, special=special)

    def _submit(self, inputs: Sequence[Sequence[int]], emit: Callable[[Any], None]) -> Ticket:
        check_inputs(
            inputs,
            context_length=self._facts.context_length,
            vocabulary_size=self._model.vocabulary_size,
        )
        job = PoolingJob(self._thread, tuple(inputs), emit)
        self._thread.submit(job)
        return job

    def stats(self) -> EngineStats:
        """Return a snapshot."""
        return self._thread.stats()

    def close(self) -> None:
        """Fail every request and free all memory; waits, except on the engine's own thread."""
        self._thread.close()
