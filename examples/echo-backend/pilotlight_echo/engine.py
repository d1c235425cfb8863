"""The engine: a queue, slots, and one thread that evaluates, samples and emits."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from pilotlight_backend import (
    EngineClosed,
    EngineEvent,
    EngineStats,
    Failed,
    Finish,
    GenerateRequest,
    GuideFailed,
    InferenceFailed,
    LoadOptions,
    ModelFacts,
    Started,
    Step,
    Ticket,
    Vocabulary,
)
from pilotlight_backend.validation import check_request
from pilotlight_backend.verbatim import Span
from pilotlight_echo import tokenizer
from pilotlight_echo.job import Job
from pilotlight_echo.model import Cache, Model
from pilotlight_echo.slots import Slot, Slots

logger = logging.getLogger("pilotlight.echo")


class EchoEngine:
    """A loaded model; `Engine` documents the methods."""

    def __init__(self, facts: ModelFacts, options: LoadOptions, model: Model) -> None:
        self._facts = facts
        self._model = model
        self._chunk = options.chunk
        self._slots = Slots(options.parallel)
        self._queue: deque[Job] = deque()
        self._changed = threading.Condition()
        """Guards the queue, the slots' jobs and the totals. Nothing is emitted while it is held: a
        slow listener would block `submit` and `stats`."""
        self._closing = False
        self._prompt_tokens = self._cached_tokens = self._completion_tokens = self._steps = 0
        self._under_way: tuple[Step, ...] = ()
        # A daemon: a process that forgot to close the engine can still end.
        self._thread = threading.Thread(
            target=self._serve, name=f"echo {facts.path.name}", daemon=True
        )
        self._thread.start()

    # From any thread.

    @property
    def facts(self) -> ModelFacts:
        """The model's facts, with the context length in force."""
        return self._facts

    def tokenize(self, text: str, *, special: bool, verbatim: Sequence[Span] = ()) -> list[int]:
        """Return the token ids of *text*."""
        return tokenizer.encode(text, special=special, verbatim=verbatim)

    def vocabulary(self) -> Vocabulary:
        """Return every token."""
        return Vocabulary(tokenizer.PIECES, frozenset({tokenizer.END}))

    def submit(self, request: GenerateRequest, emit: Callable[[EngineEvent], None]) -> Ticket:
        """Queue *request*."""
        context_length = self._facts.context_length
        check_request(
            request,
            context_length=context_length,
            vocabulary_size=self._facts.vocabulary_size,
            sampling=self._facts.sampling,
        )
        job = Job(request, emit, context_length=context_length, changed=self._changed)
        with self._changed:
            if self._closing:
                raise EngineClosed("the engine is closed")
            self._queue.append(job)
            self._changed.notify_all()
        return job

    def stats(self) -> EngineStats:
        """Return a snapshot."""
        with self._changed:
            held = {slot: len(slot.cache.tokens) for slot in self._slots.all}
            busy = self._slots.busy
            return EngineStats(
                slots=len(held),
                slots_busy=len(busy),
                queued=len(self._queue),
                kv_tokens=sum(held.values()),
                kv_tokens_running=sum(held[slot] for slot in busy),
                kv_capacity=len(held) * self._facts.context_length,
                prompt_tokens=self._prompt_tokens,
                cached_tokens=self._cached_tokens,
                completion_tokens=self._completion_tokens,
                steps=self._steps,
                under_way=self._under_way,
                dead=not self._thread.is_alive(),
            )

    def close(self) -> None:
        """End every request, and wait for the thread, unless a listener closes on that thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # On the engine's thread.

    def _serve(self) -> None:
        while self._wait_for_work():
            self._end_cancelled()
            self._admit()
            self._step()
        for job in self._jobs():
            self._end(job, Failed(EngineClosed("the engine was closed before the request ended")))
        with self._changed:
            for slot in self._slots.all:
                slot.cache = Cache()

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._queue or self._slots.busy)
            return not self._closing

    def _jobs(self) -> list[Job]:
        """Return every request, queued ones last."""
        with self._changed:
            return [*(slot.job for slot in self._slots.busy if slot.job), *self._queue]

    def _end_cancelled(self) -> None:
        for job in self._jobs():
            if job.cancelled:
                self._end(job, job.finish("cancelled"))

    def _admit(self) -> None:
        """Start the next request, unless another prompt is being evaluated.

        So requests that share a prompt need no code of their own: the first one evaluates it, and
        the others copy it from that slot.
        """
        with self._changed:
            busy = self._slots.busy
            if not self._queue or len(busy) == len(self._slots.all):
                return
            if any(slot.job and slot.job.prefills for slot in busy):
                return
            job = self._queue.popleft()
            self._slots.admit(job)
            self._cached_tokens += job.cached_tokens
        self._emit(job, Started(len(job.prompt), job.cached_tokens))

    def _step(self) -> None:
        """Evaluate a chunk of a prompt and the last token of each answer, and sample."""
        with self._changed:
            running = [(slot, slot.job) for slot in self._slots.busy if slot.job]
            prompt_tokens = sum(
                len(job.pending[: self._chunk]) for _, job in running if job.prefills
            )
            self._steps += 1
            self._prompt_tokens += prompt_tokens
            self._under_way = (Step(self._steps, prompt_tokens),)
        for slot, job in running:
            try:
                self._advance(slot, job)
            except GuideFailed as error:
                logger.warning("a request failed: %s", error, exc_info=error.__cause__)
                self._end(job, Failed(error))
            except Exception as error:
                logger.exception("a step failed")
                slot.cache = Cache()  # the failed step may have left it half written
                self._end(job, Failed(InferenceFailed(f"the engine failed: {error}")))
        with self._changed:
            self._under_way = ()

    def _advance(self, slot: Slot, job: Job) -> None:
        slot.cache.evaluate(job.pending[: self._chunk])
        job.pending = job.pending[self._chunk :]
        if job.pending:
            return
        token = job.sampler.sample(self._model.logits(slot.cache), tokenizer.PIECES.__getitem__)
        job.count_token()
        with self._changed:
            self._completion_tokens += 1
        if token.id in job.stops:
            self._end(job, job.finish("stop"))
            return
        self._emit(job, token)
        if job.completion_tokens == job.limit:
            self._end(job, job.finish("length"))
        job.pending = (token.id,)

    def _end(self, job: Job, last: Finish | Failed) -> None:
        """Free the slot of *job*, then emit its last event: its client finds a free slot."""
        with self._changed:
            if job in self._queue:
                self._queue.remove(job)
            else:
                self._slots.release(job)
        self._emit(job, last)

    def _emit(self, job: Job, event: EngineEvent) -> None:
        try:
            job.emit(event)
        except Exception:
            logger.exception("a listener failed; its request is cancelled")
            job.cancelled = True
