"""Engines whose work is done in another process."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from pilotlight_backend.guide import Vocabulary
from pilotlight_backend.protocols import Ticket
from pilotlight_backend.types import (
    BakedPrompt,
    EmbedEvent,
    EngineEvent,
    EngineStats,
    GenerateRequest,
    ModelFacts,
)
from pilotlight_backend.validation import check_inputs, check_request
from pilotlight_backend.verbatim import Span
from pilotlight_isolation import wire
from pilotlight_isolation.connection import Connection
from pilotlight_isolation.process import Process

_ANY_TOKEN = 2**31
"""A vocabulary's size where the engine does not say it; it refuses unknown tokens itself then."""


def _tokens_in(data: bytes) -> int:
    """Estimate how many tokens a text comes to; about four bytes are one."""
    return len(data) // 4


class IsolatedBase:
    """What both kinds have. `submit` and `stats` never wait, and everything else may."""

    def __init__(self, process: Process, name: str, loaded: wire.Loaded) -> None:
        self._facts = loaded.facts
        self._connection = Connection(process, name, loaded.snapshot)
        self._vocabulary_size = loaded.facts.vocabulary_size or _ANY_TOKEN

    @property
    def facts(self) -> ModelFacts:
        """The model's facts, with the context length that is in force."""
        return self._facts

    @property
    def pid(self) -> int:
        """The number of the process that does the work."""
        return self._connection.pid

    def tokenize(self, text: str, *, special: bool, verbatim: Sequence[Span] = ()) -> list[int]:
        """Return the token ids of *text*; see `BaseEngine.tokenize`."""
        data = text.encode("utf-8", "surrogatepass")
        ids: list[int] = self._connection.call(
            lambda number: wire.Tokenize(number, data, special, tuple(verbatim)), _tokens_in(data)
        )
        return ids

    def stats(self) -> EngineStats:
        """Return a snapshot."""
        return self._connection.stats()

    def close(self) -> None:
        """End every request, and the process with all its memory."""
        self._connection.close()

    def kill(self, reason: str) -> None:
        """End the process at once; its requests end with `InferenceFailed`, for *reason*."""
        self._connection.kill(reason)


class IsolatedEngine(IsolatedBase):
    """An `Engine`."""

    def vocabulary(self) -> Vocabulary:
        """Return every token."""
        vocabulary: Vocabulary = self._connection.call(wire.ReadVocabulary)
        return vocabulary

    def submit(self, request: GenerateRequest, emit: Callable[[EngineEvent], None]) -> Ticket:
        """Queue *request*; *emit* and the guide are called on the connection's thread.

        What the engine refuses beyond what every backend does is told in a `Failed`.
        """
        check_request(
            request,
            context_length=self._facts.context_length,
            vocabulary_size=self._vocabulary_size,
            sampling=self._facts.sampling,
        )
        guide = request.guide
        sent = replace(request, guide=None)
        return self._connection.submit(
            lambda number: wire.Submit(number, sent, guide is not None), emit, guide
        )


class IsolatedBakingEngine(IsolatedEngine):
    """A `BakingEngine`."""

    def bake(self, prompt: tuple[int, ...], baked: BakedPrompt) -> int:
        """Evaluate *prompt* and write its state; see `BakingEngine.bake`."""
        count: int = self._connection.call(
            lambda number: wire.Bake(number, prompt, baked), len(prompt)
        )
        return count


class IsolatedEmbeddingEngine(IsolatedBase):
    """An `EmbeddingEngine`."""

    def tokenize_input(self, text: str) -> list[int]:
        """Return the token ids of *text* as an input."""
        data = text.encode("utf-8", "surrogatepass")
        ids: list[int] = self._connection.call(
            lambda number: wire.TokenizeInput(number, data), _tokens_in(data)
        )
        return ids

    def embed(self, inputs: Sequence[Sequence[int]], emit: Callable[[EmbedEvent], None]) -> Ticket:
        """Queue *inputs*; *emit* is called on the connection's thread."""
        check_inputs(
            inputs,
            context_length=self._facts.context_length,
            vocabulary_size=self._vocabulary_size,
        )
        sent = tuple(map(tuple, inputs))
        return self._connection.submit(lambda number: wire.Embed(number, sent), emit)


ENGINES: dict[wire.Kind, type[IsolatedBase]] = {
    "generates": IsolatedEngine,
    "bakes": IsolatedBakingEngine,
    "embeds": IsolatedEmbeddingEngine,
}
