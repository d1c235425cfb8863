"""The engine of a model that embeds."""

from collections.abc import Callable, Sequence

from pilotlight_backend import EmbedEvent, Ticket
from pilotlight_llama_cpp.pooling_engine import LlamaCppPoolingEngine


class LlamaCppEmbeddingEngine(LlamaCppPoolingEngine):
    """An engine that embeds."""

    def tokenize_input(self, text: str) -> list[int]:
        """Return the token ids of *text*, with the special tokens that the header asks for.

        Same as llama-server: `tokenize_input_prompts(vocab, …, add_special true, parse_special
        true)` in tools/server/server-context.cpp.
        """
        return self._model.tokenize(text, special=True, add_special=True)

    def embed(self, inputs: Sequence[Sequence[int]], emit: Callable[[EmbedEvent], None]) -> Ticket:
        """Queue *inputs*; *emit* is called on the engine's thread."""
        return self._submit(inputs, emit)
