"""The engine's threads: each serves one slot.

A generator has one sequence and its calls block, so each slot has a thread. The calls release the
GIL, and all sessions share ONNX Runtime's compute threads. The slots take requests from one queue
under one lock, which is why this is not the llama.cpp backend's single engine thread with an inbox.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from pilotlight_backend import (
    EngineClosed,
    EngineEvent,
    EngineStats,
    Failed,
    Finish,
    FinishReason,
    GuideFailed,
    InferenceFailed,
    Started,
    Step,
    Token,
)
from pilotlight_backend.prompt_cache import owner_of
from pilotlight_backend.spelling import LOOK_BACK
from pilotlight_backend.timing import RequestTimer
from pilotlight_onnx.job import Job, RunnerGenerator, RunnerModel
from pilotlight_onnx.slots import Slot, Slots, chunks

logger = logging.getLogger("pilotlight.onnx")


class _Stopped(Exception):
    """The request is cancelled, or the engine closes."""


class Runner:
    """Serves the slots until `stop`."""

    def __init__(
        self,
        model: RunnerModel,
        slots: Slots[Job],
        *,
        chunk: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._model = model
        self._slots = slots
        self._chunk = chunk
        self._clock = clock
        self._generators: dict[int, RunnerGenerator] = {}
        """By slot; only the slot's thread uses it, but for `terminate`."""
        self._changed = threading.Condition()
        """Guards the slots and the jobs' state; never held while a generator computes."""
        self._closing = False
        self._serving = len(slots.all)
        self._prompt_tokens = self._cached_tokens = self._completion_tokens = self._steps = 0
        self._under_way: dict[int, Step] = {}
        """By slot, from the start of a step to that of the next one or the end of the request, so
        that sampling counts as part of the step."""
        self._turns = 0

    # From any thread.

    def submit(self, job: Job) -> None:
        """Queue *job*; raises `EngineClosed` after `stop`."""
        job.timer = RequestTimer(self._clock())
        with self._changed:
            if self._closing:
                raise EngineClosed("the engine is closed")
            self._slots.queue.append(job)
            self._changed.notify_all()

    def cancel(self, job: Job) -> None:
        """End *job* at the next step, or within the step if it is a prefill."""
        with self._changed:
            job.cancelled = True
            if job.prefilling is not None:
                job.prefilling.terminate()
            self._changed.notify_all()

    def stop(self) -> None:
        """Make every `serve` fail its request and return."""
        with self._changed:
            self._closing = True
            for slot in self._slots.busy:
                if slot.job is not None and slot.job.prefilling is not None:
                    slot.job.prefilling.terminate()
            self._changed.notify_all()

    def clear(self, owner: str | None) -> None:
        """Forget the prompts of *owner*, or all: of busy slots when their requests end."""
        with self._changed:
            for slot in self._slots.all:
                if owner not in (None, owner_of(slot.scope)):
                    continue
                if slot.job is None:
                    self._discard(slot)
                else:
                    slot.is_cleared = True

    def stats(self, *, kv_capacity: int, dead: bool = False) -> EngineStats:
        """Return a snapshot; *dead* is whether a thread that calls `serve` has ended."""
        with self._changed:
            return EngineStats(
                slots=len(self._slots.all),
                slots_busy=len(self._slots.busy),
                queued=len(self._slots.queue),
                kv_tokens=sum(len(slot.held) for slot in self._slots.all),
                kv_tokens_running=sum(len(slot.held) for slot in self._slots.busy),
                kv_capacity=kv_capacity,
                prompt_tokens=self._prompt_tokens,
                cached_tokens=self._cached_tokens,
                completion_tokens=self._completion_tokens,
                steps=self._steps,
                under_way=tuple(self._under_way.values()),
                dead=dead,
            )

    # On a slot's thread.

    def serve(self, slot: Slot[Job]) -> None:
        """Serve requests in *slot* until `stop`; the last thread to return frees the model."""
        while (job := self._next(slot)) is not None:
            try:
                self._generate(slot, job)
            except _Stopped:
                self._end_stopped(slot, job)
            except GuideFailed as error:  # the slot's state is intact, and stays for reuse
                logger.warning("a request failed: %s", error, exc_info=error.__cause__)
                self._end(slot, job, Failed(error))
            except Exception as error:
                # A terminated prefill ends in an error of the library, which is no fault.
                stopped = job.cancelled or self._closing
                if not (stopped and job.prefilling):
                    self._discard(slot)  # after a fault its state is unknown
                if stopped:
                    self._end_stopped(slot, job)
                else:
                    logger.exception("a step failed")
                    self._end(slot, job, Failed(InferenceFailed(f"the engine failed: {error}")))
            finally:
                with self._changed:
                    self._under_way.pop(slot.id, None)
        self._discard(slot)
        with self._changed:
            self._serving -= 1
            last = self._serving == 0
        if last:
            self._model.close()

    def _next(self, slot: Slot[Job]) -> Job | None:
        """Wait for the next request of *slot*; None once the engine closes.

        `Started` is emitted under the lock, so requests start in the order of the queue.
        """
        with self._changed:
            while True:
                self._end_queued()
                if self._closing:
                    return None
                if self._slots.first_choice() is slot:
                    job = self._slots.admit(slot)
                    job.timer.admitted = self._clock()
                    self._cached_tokens += job.cached_tokens
                    self._emit(job, Started(len(job.prompt), job.cached_tokens))
                    self._changed.notify_all()  # another slot may be the best for the next request
                    return job
                self._changed.wait()

    def _end_queued(self) -> None:
        """End queued requests that are cancelled, or all of them if the engine closes."""
        for job in [job for job in self._slots.queue if job.cancelled or self._closing]:
            self._slots.queue.remove(job)
            self._end(None, job, self._stopped(job))

    def _generate(self, slot: Slot[Job], job: Job) -> None:
        self._begin_step(slot)
        generator = self._prefill(slot, job)
        while tokens := self._next_tokens(slot, job, generator):
            self._evaluate(slot, job, generator, tokens)

    def _next_tokens(self, slot: Slot[Job], job: Job, generator: RunnerGenerator) -> list[int]:
        """Emit what is forced, or a sampled token and what is forced behind it.

        Return the tokens that are to be evaluated next; none once the request has ended.
        """
        tokens: list[int] = []
        if job.sampler.may_force and not self._force(slot, job, generator, tokens):
            return []
        if tokens:
            return tokens
        chosen = job.sampler.sample(generator.logits(), self._model.piece)
        if not self._take(slot, job, chosen):
            return []
        tokens.append(chosen.id)
        return tokens if self._force(slot, job, generator, tokens) else []

    def _force(
        self, slot: Slot[Job], job: Job, generator: RunnerGenerator, tokens: list[int]
    ) -> bool:
        """Emit what is forced behind *tokens*, and add it to them; return whether *job* goes on."""
        for token in job.sampler.forced([*slot.held[-LOOK_BACK:], *tokens]):
            if not job.sampler.has_logprobs:
                event = Token(token, self._model.piece(token))
            else:
                # The library returns the logits of the last token alone.
                if tokens:
                    self._evaluate(slot, job, generator, tokens)
                    tokens.clear()
                event = job.sampler.with_logprobs(token, generator.logits(), self._model.piece)
            if not self._take(slot, job, event):
                return False
            tokens.append(token)
        return True

    def _take(self, slot: Slot[Job], job: Job, event: Token) -> bool:
        """Count and emit a token of the completion; return whether *job* goes on."""
        if job.timer.first_token is None:
            job.timer.first_token = self._clock()
        job.completion_tokens += 1
        self._count(completion_tokens=1)
        if self._model.is_end(event.id) or event.id in job.stop_tokens:
            self._end(slot, job, self._finish(job, "stop"))
            return False
        self._emit(job, event)
        if job.completion_tokens >= job.limit:
            self._end(slot, job, self._finish(job, "length"))
            return False
        return True

    def _evaluate(
        self, slot: Slot[Job], job: Job, generator: RunnerGenerator, tokens: Sequence[int]
    ) -> None:
        self._check(job)
        self._begin_step(slot)
        generator.append(tokens)
        slot.held.extend(tokens)
        self._count(steps=1)

    def _prefill(self, slot: Slot[Job], job: Job) -> RunnerGenerator:
        """Evaluate the tokens of the prompt that the slot does not hold, in chunks."""
        self._check(job)  # its listener may have cancelled it at `Started`
        generator = self._generator(slot, job)
        with self._changed:
            self._check(job)
            job.prefilling = generator
        for start, end in chunks(job.cached_tokens, len(job.prompt), self._chunk):
            self._check(job)
            tokens = job.prompt[start:end]
            self._begin_step(slot, len(tokens))
            generator.append(tokens)
            slot.held.extend(tokens)
            self._count(prompt_tokens=len(tokens), steps=1)
        with self._changed:
            self._check(job)
            job.prefilling = None
        return generator

    def _generator(self, slot: Slot[Job], job: Job) -> RunnerGenerator:
        """Return the slot's generator, rewound to the cached tokens of *job*, or a new one."""
        if job.cached_tokens:
            generator = self._generators[slot.id]
            generator.rewind(job.cached_tokens)
            del slot.held[job.cached_tokens :]
            return generator
        self._discard(slot)  # before the new one is made: memory may not hold two caches
        room = self._slots.room_for(job)
        generator = self._generators[slot.id] = self._model.open(room)
        slot.room = room
        return generator

    def _discard(self, slot: Slot[Job]) -> None:
        slot.forget()
        generator = self._generators.pop(slot.id, None)
        if generator is not None:
            generator.close()

    def _check(self, job: Job) -> None:
        """Raise `_Stopped` if *job* is cancelled or the engine closes; end queued jobs that are."""
        if self._slots.queue:
            with self._changed:
                self._end_queued()
        if job.cancelled or self._closing:
            raise _Stopped

    def _end_stopped(self, slot: Slot[Job], job: Job) -> None:
        self._resume(slot, job)
        self._end(slot, job, self._stopped(job))

    def _resume(self, slot: Slot[Job], job: Job) -> None:
        """Leave in *slot* what it held before the prefill step that was terminated, if any."""
        with self._changed:  # `cancel` and `stop` do not terminate it from here on
            generator, job.prefilling = job.prefilling, None
        if generator is None:
            return
        if self._closing or not slot.held:
            self._discard(slot)
            return
        try:
            generator.resume(len(slot.held))
        except Exception:
            logger.exception("a slot cannot be rewound, and is emptied")
            self._discard(slot)

    def _stopped(self, job: Job) -> Finish | Failed:
        if job.cancelled:
            return self._finish(job, "cancelled")
        return Failed(EngineClosed("the engine was closed before the request ended"))

    def _finish(self, job: Job, reason: FinishReason) -> Finish:
        return Finish(reason, job.usage(), job.timer.timings(self._clock()))

    def _end(self, slot: Slot[Job] | None, job: Job, last: Finish | Failed) -> None:
        with self._changed:
            job.ended = True
            job.prefilling = None
            if slot is not None:
                self._slots.release(slot)
                self._changed.notify_all()  # a request that stepped aside may get it
        self._emit(job, last)

    def _begin_step(self, slot: Slot[Job], tokens: int = 0) -> None:
        with self._changed:
            self._turns += 1
            self._under_way[slot.id] = Step(self._turns, tokens)

    def _count(self, *, prompt_tokens: int = 0, completion_tokens: int = 0, steps: int = 0) -> None:
        with self._changed:
            self._prompt_tokens += prompt_tokens
            self._completion_tokens += completion_tokens
            self._steps += steps

    def _emit(self, job: Job, event: EngineEvent) -> None:
        try:
            job.emit(event)
        except Exception:
            logger.exception("emit raised; its request is cancelled")
            if not job.ended:
                self.cancel(job)
