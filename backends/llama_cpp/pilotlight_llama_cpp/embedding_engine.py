"""The engine of a model that embeds."""

from collections.abc import Callable, Sequence

from pilotlight_backend import EmbedEvent, EngineStats, ModelFacts, Ticket
from pilotlight_backend.validation import check_inputs
from pilotlight_llama_cpp.model import LlamaModel
from pilotlight_llama_cpp.pooling_context import EmbeddingContext
from pilotlight_llama_cpp.pooling_thread import PoolingJob, PoolingThread


class LlamaCppEmbeddingEngine:
    """Checks requests and submits them to its thread."""

    def __init__(self, facts: ModelFacts, model: LlamaModel, context: EmbeddingContext) -> None:
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

    def tokenize_input(self, text: str) -> list[int]:
        """Return the token ids of *text*, with the special tokens that the header asks for.

        Same as llama-server: `tokenize_input_prompts(vocab, …, add_special true, parse_special
        true)` in tools/server/server-context.cpp.
        """
        return self._model.tokenize(text, special=True, add_special=True)

    def embed(self, inputs: Sequence[Sequence[int]], emit: Callable[[EmbedEvent], None]) -> Ticket:
        """Queue *inputs*; *emit* is called on the engine's thread."""
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
