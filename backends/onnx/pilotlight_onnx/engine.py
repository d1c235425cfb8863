"""The engine of a model that generates."""

import threading
from collections.abc import Callable, Sequence
from functools import partial

from pilotlight_backend import (
    EngineEvent,
    EngineStats,
    GenerateRequest,
    ModelFacts,
    Ticket,
    Vocabulary,
)
from pilotlight_backend.spelling import Spelling
from pilotlight_backend.validation import check_request
from pilotlight_backend.verbatim import Span, parts
from pilotlight_onnx.job import Job
from pilotlight_onnx.model import OnnxModel
from pilotlight_onnx.runner import Runner
from pilotlight_onnx.slots import Slots


class OnnxEngine:
    """Checks requests and submits them to the runner's threads."""

    def __init__(
        self,
        facts: ModelFacts,
        model: OnnxModel,
        *,
        slots: int,
        chunk: int,
        reuse: bool,
    ) -> None:
        self._facts = facts
        self._model = model
        self._spelling: Spelling | None = None
        self._kv_capacity = slots * facts.context_length
        all_slots: Slots[Job] = Slots(slots, context_length=facts.context_length, reuse=reuse)
        self._runner = Runner(model, all_slots, chunk=chunk)
        # Daemons, so that a process that forgot to close the engine can still end.
        self._threads = [
            threading.Thread(
                target=self._runner.serve,
                args=(slot,),
                name=f"onnx {facts.path.name} {slot.id}",
                daemon=True,
            )
            for slot in all_slots.all
        ]
        for thread in self._threads:
            thread.start()

    @property
    def facts(self) -> ModelFacts:
        """The model's facts, with the context length in force."""
        return self._facts

    def tokenize(self, text: str, *, special: bool, verbatim: Sequence[Span] = ()) -> list[int]:
        """Return the token ids of *text*; with *special*, special tokens' names become ids."""
        return [
            token
            for part, stays in parts(text, verbatim)
            for token in self._model.tokenize(part, special=special and not stays)
        ]

    def vocabulary(self) -> Vocabulary:
        """Return every token. From then on, guides force tokens."""
        tokens = range(self._model.vocabulary_size)
        vocabulary = Vocabulary(
            tuple(map(self._model.piece, tokens)), frozenset(filter(self._model.is_end, tokens))
        )
        if self._spelling is None:  # guides are made of a vocabulary: none comes before
            self._spelling = Spelling(vocabulary, partial(self._model.tokenize, special=True))
        return vocabulary

    def submit(self, request: GenerateRequest, emit: Callable[[EngineEvent], None]) -> Ticket:
        """Queue *request*; *emit* is called on the thread of the slot that it gets."""
        check_request(
            request,
            context_length=self._facts.context_length,
            vocabulary_size=self._model.vocabulary_size,
            sampling=self._facts.sampling,
        )
        room = self._facts.context_length - len(request.prompt)
        job = Job(
            self._runner,
            request,
            emit,
            limit=min(request.max_tokens, room),
            ends=self._model.end_tokens,
            context_length=self._facts.context_length,
            spelling=self._spelling,
        )
        self._runner.submit(job)
        return job

    def save_prompts(self, seconds: float) -> None:
        """Do nothing: ONNX Runtime GenAI gives no state of a generator out (0.18)."""

    def clear_prompts(self, owner: str | None = None) -> None:
        """Forget the prompts in slots, or those of *owner*."""
        self._runner.clear(owner)

    def stats(self) -> EngineStats:
        """Return a snapshot."""
        return self._runner.stats(
            kv_capacity=self._kv_capacity,
            dead=not all(thread.is_alive() for thread in self._threads),
        )

    def close(self) -> None:
        """Fail every request and free all memory; waits, except on the engine's own threads."""
        self._runner.stop()
        if threading.current_thread() not in self._threads:
            for thread in self._threads:
                thread.join()
