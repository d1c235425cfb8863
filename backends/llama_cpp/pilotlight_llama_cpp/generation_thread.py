"""The thread of an engine that generates: it executes the scheduler's batches."""

import logging
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from pilotlight_backend import (
    BackendError,
    EngineClosed,
    EngineEvent,
    EngineStats,
    Failed,
    InferenceFailed,
    Started,
)
from pilotlight_backend.prompt_cache import owner_of
from pilotlight_llama_cpp.adapters import LoadedAdapters
from pilotlight_llama_cpp.batch import Decoded
from pilotlight_llama_cpp.between_steps import BetweenSteps
from pilotlight_llama_cpp.completions import Completions
from pilotlight_llama_cpp.decoder import GenerationDecoder
from pilotlight_llama_cpp.draft_model import DraftModel
from pilotlight_llama_cpp.drafting import Drafting
from pilotlight_llama_cpp.drafts import Drafts, NgramDrafts
from pilotlight_llama_cpp.encoder import Encoder
from pilotlight_llama_cpp.engine_thread import EngineThread
from pilotlight_llama_cpp.generation_job import GenerationJob
from pilotlight_llama_cpp.job_images import JobImages
from pilotlight_llama_cpp.model_drafts import ModelDrafts
from pilotlight_llama_cpp.prompt_states import PromptStates
from pilotlight_llama_cpp.runs import PlannedRun
from pilotlight_llama_cpp.samplers_beside import SamplersBeside
from pilotlight_llama_cpp.scheduler import Scheduler
from pilotlight_llama_cpp.slot_states import SlotStates

logger = logging.getLogger("pilotlight.llama_cpp")


_MEASURED = 16
"""Prompt tokens of a step from which on it says how long one takes."""


class GenerationThread(EngineThread[GenerationJob, EngineEvent]):
    """Executes the scheduler's plans, step by step."""

    _decoder: GenerationDecoder

    def __init__(
        self,
        decoder: GenerationDecoder,
        scheduler: Scheduler[GenerationJob],
        *,
        draft_max: int = 0,
        draft_model: DraftModel | None = None,
        most_checkpoints: int = 0,
        seconds_per_token: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """*scheduler* has the slots of *decoder*, and plans the steps of this thread alone.

        *draft_max* is the drafted tokens of a step, which *draft_model* drafts, or each job's
        drafter; it is closed with *decoder*.
        """
        super().__init__(decoder, clock)
        self._scheduler = scheduler
        self._drafts = self._make_drafts(draft_max, draft_model) if draft_max else None
        self._admission = self._scheduler.admission
        self._slots = SlotStates(decoder, self._admission.slots, most_checkpoints=most_checkpoints)
        self._completions = Completions(self, decoder, self._slots, clock, self._drafts)
        self._making = SamplersBeside(self.wake)
        self._encoder: Encoder | None = None
        self._images: JobImages | None = None
        self._states: PromptStates | None = None
        self._to_flush: list[threading.Event] = []
        """Set when idle slots are stored; empty where no caller waits for that."""
        self.between_steps = BetweenSteps(self.wake, lambda: self.dead)
        """Calls of other threads to what this thread alone may touch."""
        self._adapters: LoadedAdapters | None = None
        self._seconds_per_token = seconds_per_token
        """What a prompt's token took to evaluate, lately."""
        self._cached_tokens = self._steps = 0

    def _make_drafts(self, most: int, model: DraftModel | None) -> Drafts[GenerationJob]:
        of_step = Drafting(self._scheduler.batching, most)
        return NgramDrafts(of_step) if model is None else ModelDrafts(of_step, model)

    def adapt(self, adapters: LoadedAdapters) -> None:
        """Free those of *adapters* that are unloaded and not used; before `start`."""
        self._adapters = adapters

    def keep(self, states: PromptStates) -> None:
        """Keep what slots hold with *states*; before `start`."""
        self._states = states

    def see(self, encoder: Encoder) -> None:
        """Encode images with *encoder*, which is closed with the thread; before `start`."""
        self._encoder, self._images = encoder, JobImages(encoder)

    # ── from any thread ────────────────────────────────────────────────────────────────────────

    def written(self) -> None:
        """Hear that the prompt cache has written a state."""
        if self._states is not None:
            self._states.written()
            self.wake()

    def flush(self, seconds: float) -> None:
        """Save what idle slots hold for the storage; wait for that, *seconds* at the most."""
        if self._states is None or self.dead:
            return
        flushed = threading.Event()
        self._to_flush.append(flushed)
        if not self.dead:  # or it has ended meanwhile, and sets no event any more
            self.written()
            flushed.wait(seconds)

    def forget(self, owner: str | None) -> None:
        """Forget the prompts of *owner*, or all, in slots and in the cache; waits for the step."""
        with suppress(EngineClosed):  # nothing is held any more
            self.between_steps.call(lambda: self._clear(owner))

    def _clear(self, owner: str | None) -> None:
        self._slots.clear_of(owner)
        if self._drafts is not None:
            self._drafts.forget()
        if self._images is not None:
            self._images.forget(owner)
        if self._states is not None:  # after the slots: they are saved into it
            self._states.clear(owner)
        for job in self._admission.waiting:  # what was found for it
            if owner in (None, owner_of(job.scope)):
                job.stored = None

    def stats(self, *, kv_capacity: int) -> EngineStats:
        """Return a snapshot; any thread. The numbers may be of slightly different moments."""
        admission, counts = self._admission, self._completions.counts
        images = None if self._encoder is None else self._encoder.counts()
        return EngineStats(
            slots=len(admission.slots),
            slots_busy=admission.taken,
            queued=len(self._arrived) + len(self._making) + len(admission.queue),
            kv_tokens=sum(len(slot.held) for slot in admission.slots),
            kv_tokens_running=sum(len(slot.held) for slot in admission.slots if not slot.is_idle),
            kv_capacity=kv_capacity,
            prompt_tokens=counts.prompt_tokens,
            cached_tokens=self._cached_tokens,
            completion_tokens=counts.completion_tokens,
            steps=self._steps,
            images_encoded=0 if images is None else images.encoded,
            images_reused=0 if images is None else images.reused,
            drafts=counts.drafts,
            drafted_tokens=counts.drafted_tokens,
            accepted_tokens=counts.accepted_tokens,
            under_way=self._under_way,
            dead=self.dead,
        )

    # ── the queue and the slots ────────────────────────────────────────────────────────────────

    def _has_work(self) -> bool:
        return (
            self._admission.has_work
            or not self.between_steps.is_empty
            or self._making.is_due
            or any(job.has_encoded for job in self._admission.active)
            or (self._images is not None and self._images.is_waiting)
        )

    def _idle_timeout(self) -> float | None:
        if self._states is None:
            return None
        if self._states.is_writing:  # `written` wakes the thread
            return None
        return 0.0 if self._to_flush else self._states.idle_timeout

    def _rest(self) -> None:
        self._decoder.rest()

    def _use_idle_time(self) -> None:
        if self._states is None:
            return
        idle = [slot for slot in self._admission.slots if slot.is_idle]
        try:
            has_written = self._states.write_behind(idle)
        except Exception:  # no request waits for it, and none is to fail for it
            logger.exception("cached prompts cannot be saved")
            self._states.settle()
            has_written = False
        if not has_written:  # nothing is being written either, or this would not be called
            self._end_flushes()

    def _end_flushes(self) -> None:
        while self._to_flush:
            self._to_flush.pop().set()

    def _close_all(self) -> None:
        try:
            super()._close_all()
        finally:
            self.between_steps.close()
            self._end_flushes()

    def _free(self) -> None:
        if self._encoder is not None:  # its projector uses the model, which the decoder frees
            self._encoder.close()
        super()._free()
        if self._drafts is not None:
            self._drafts.close()

    def _enqueue(self, job: GenerationJob) -> None:
        """Queue *job* once its sampler is made; jobs whose sampler takes no time pass it."""
        self._decoder.expect(job.length)
        made = self._decoder.sampler_beside(job.sampling, job.words)
        if made is None:
            self._admission.enqueue(job)
        else:
            self._making.add(job, made)

    def _enqueue_prepared(self) -> None:
        for job, error in self._making.take():
            if error is None:
                self._admission.enqueue(job)
            else:
                logger.error("a sampler cannot be made", exc_info=error)
                self.end(job, Failed(InferenceFailed(f"the sampler cannot be made: {error}")))

    def _unended(self) -> list[GenerationJob]:
        admission = self._admission
        return [*admission.active, *admission.waiting, *admission.queue, *self._making]

    def used_adapters(self) -> set[str]:
        """Return the adapters of all requests; on this thread."""
        with self._wake:
            jobs = [*self._arrived, *self._unended()]
        return {one.id for job in jobs for one in job.adapters}

    def _release(self, job: GenerationJob) -> None:
        if not self._making.discard(job):
            slot = job.slot
            self._admission.release(job)
            if slot is not None:
                self._slots.release(slot, job)
        if job.sampler is not None:
            job.sampler.close()
        if self._images is not None:
            self._images.release(job)

    def _fail_step(self, error: BackendError) -> None:
        for job in list(self._admission.active):
            self._fail(job, error)

    def _fail(self, job: GenerationJob, error: BackendError) -> None:
        """Fail *job*, and clear its slot: after a fault its state is unknown."""
        if job.slot is not None:
            self._slots.clear(job.slot)
        self.end(job, Failed(error))

    # ── a step ─────────────────────────────────────────────────────────────────────────────────

    def _advance(self) -> None:
        """Admit, decode one batch, and emit the sampled tokens."""
        self.between_steps.run()
        self._enqueue_prepared()
        if self._states is not None:
            self._states.busy()
            self._look_up(self._states)
        for job in self._admission.admit(self._decoder.room):
            self._start(job)
        if self._admission.lacking:
            self._decoder.expect(self._admission.lacking)
        if self._images is not None:
            for job, error in self._images.deliver(self._admission.active):
                self.end(job, Failed(error))
        runs = self._planned()
        if self._images is not None:
            self._images.encode(self._admission.active, is_idle=not runs)
        if runs:
            self._steps += 1
            self._report_step(sum(run.size for run in runs))
            self._evaluate(runs)
        if self._adapters is not None:
            self._adapters.free()

    def _planned(self) -> list[PlannedRun[GenerationJob]]:
        """Return the next batch. To draft is to evaluate, so the plan has no drafts yet."""
        room = self._decoder.room
        is_encoding = self._images is not None and self._images.is_encoding
        runs = self._scheduler.plan(room, is_encoding=is_encoding)
        if self._drafts is None or any(run.sequence.pending is None for run in runs):
            return runs
        return self._drafts.extend(runs, room) if runs else runs

    def _look_up(self, states: PromptStates) -> None:
        """Ask the prompt cache for the prompts that are next."""
        for job in self._admission.reserve():
            if job.looked_at is None:
                job.looked_at = self._clock()
                states.find(job)
                if self._admission.is_fetched_for_another(job):
                    continue  # it copies that one's slot
                states.fetch(job, self._admission.held(job), self._seconds_per_token, self.wake)

    def _start(self, job: GenerationJob) -> None:
        job.timer.admitted = self._clock()
        if job.slot is not None and self._slots.begin(job.slot, job, self._states):
            was_read = job.stored is not None and job.stored.tier == "storage"
            job.timer.restoring = job.looked_at if was_read else job.timer.admitted
            job.timer.admitted = self._clock()
        job.stored = job.displaced = None  # their states are memory
        if job.sampler is None:
            job.sampler = self._decoder.sampler(job.sampling, job.words)
        if self._images is not None:
            self._images.begin(job)
        if self._drafts is not None and job.slot is not None:
            self._drafts.begin(job.slot.id, job.scope)
        cached = job.cells(job.cached_tokens)
        self._cached_tokens += cached
        self.emit(job, Started(job.length, cached, job.timer.restore))

    def _evaluate(self, runs: list[PlannedRun[GenerationJob]]) -> None:
        match self._decode_runs(runs):
            case Decoded.DONE:
                self._completions.extend(runs)
            case Decoded.REFUSED:
                for slot in self._admission.idle_holders():
                    self._slots.clear(slot)
                self._evaluate_apart(runs)
            case Decoded.TOO_SHORT:  # other slots have no room for it
                self._evaluate_apart(runs)
            case Decoded.ABORTED:  # its jobs end at the next step
                self._slots.recover(runs)
            case Decoded.BROKEN:
                for run in runs:
                    self._fail(
                        run.sequence, InferenceFailed("llama.cpp failed to decode the batch")
                    )

    def _decode_runs(self, runs: list[PlannedRun[GenerationJob]]) -> Decoded:
        tokens = sum(run.size for run in runs if run.sequence.pending is None)
        began = self._clock()
        self._decoder.adapt(runs[0].sequence.adapters)
        outcome = self._decode(tuple(run.sequence for run in runs), runs)
        seconds = self._clock() - began
        if outcome is Decoded.DONE:
            if self._drafts is not None:
                self._drafts.measured(runs, seconds)
            if tokens >= _MEASURED:
                self._seconds_per_token = seconds / tokens
        return outcome

    def _may_abort(self, jobs: Collection[GenerationJob]) -> bool:
        """Return whether the step prefills.

        A decode step is short, and every text stop cancels a job in one. It runs to its end, since
        a recurrent state does not survive an abort.
        """
        return any(job.pending is None for job in jobs)

    def _evaluate_apart(self, runs: list[PlannedRun[GenerationJob]]) -> None:
        """Decode each run alone, so that only those without room fail."""
        for run in (run.without_draft() for run in runs):
            match self._decode_runs([run]):
                case Decoded.DONE:
                    self._completions.extend([run])
                case Decoded.ABORTED:
                    self._slots.recover([run])
                case Decoded.TOO_SHORT:
                    self._fail(run.sequence, InferenceFailed(self._decoder.shortage))
                case _:
                    self._fail(run.sequence, InferenceFailed("the KV cache is full"))
