"""A loaded model that answers requests."""

import threading
from collections.abc import Callable

from pilotlight_backend import (
    ContextLengthExceeded,
    EngineEvent,
    EngineStats,
    GenerateRequest,
    InvalidParameter,
    ModelFacts,
    Ticket,
)
from pilotlight_llama_cpp import sampling
from pilotlight_llama_cpp.context import Context
from pilotlight_llama_cpp.model import Model
from pilotlight_llama_cpp.runner import Job, Runner


class LlamaCppEngine:
    """Checks requests, and passes them to the runner on its thread."""

    def __init__(
        self, facts: ModelFacts, model: Model, context: Context, *, slots: int, chunk: int
    ) -> None:
        self._facts = facts
        self._model = model
        self._kv_capacity = slots * facts.context_length
        self._runner = Runner(context, slots=slots, chunk=chunk)
        # A daemon: a process that forgot to close the engine can still end.
        self._thread = threading.Thread(
            target=self._runner.run, name=f"llama.cpp {facts.path.name}", daemon=True
        )
        self._thread.start()

    @property
    def facts(self) -> ModelFacts:
        """The model's facts, with the context length that is in force."""
        return self._facts

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return the token ids of *text*; with *special*, special tokens' names become ids."""
        return self._model.tokenize(text, special=special)

    def submit(self, request: GenerateRequest, emit: Callable[[EngineEvent], None]) -> Ticket:
        """Queue *request*; *emit* is called on the engine's thread."""
        self._validate(request)
        room = self._facts.context_length - len(request.prompt)
        job = Job(self._runner, request, emit, limit=min(request.max_tokens, room))
        self._runner.submit(job)
        return job

    def _validate(self, request: GenerateRequest) -> None:
        if not request.prompt:
            raise InvalidParameter("prompt", "the prompt is empty")
        if len(request.prompt) >= self._facts.context_length:
            raise ContextLengthExceeded(len(request.prompt), self._facts.context_length)
        if request.max_tokens < 1:
            raise InvalidParameter("max_tokens", f"max_tokens cannot be {request.max_tokens}")
        self._check_ids("prompt", min(request.prompt), max(request.prompt))
        if request.stop_token_ids:
            ids = request.stop_token_ids
            self._check_ids("stop_token_ids", min(ids), max(ids))
        sampling.validate(request.sampling, self._model.vocabulary_size)

    def _check_ids(self, param: str, *ids: int) -> None:
        for token in ids:
            if not 0 <= token < self._model.vocabulary_size:
                raise InvalidParameter(param, f"the vocabulary has no token {token}")

    def stats(self) -> EngineStats:
        """Return a snapshot."""
        return self._runner.stats(kv_capacity=self._kv_capacity)

    def close(self) -> None:
        """End every request and give all memory back; waits, save on the engine's own thread."""
        self._runner.stop()
        if threading.current_thread() is not self._thread:
            self._thread.join()
