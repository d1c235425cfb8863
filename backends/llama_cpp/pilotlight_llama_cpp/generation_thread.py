"""The thread of an engine that generates: it executes the scheduler's batches."""

import logging
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any

from pilotlight_backend import (
    BackendError,
    EngineEvent,
    EngineStats,
    Failed,
    GuideFailed,
    InferenceFailed,
    Started,
    Token,
)
from pilotlight_backend.prompt_cache import Checkpoint, owner_of
from pilotlight_llama_cpp.adapters import LoadedAdapters
from pilotlight_llama_cpp.batch import Decoded
from pilotlight_llama_cpp.between_steps import BetweenSteps
from pilotlight_llama_cpp.branches import thinned
from pilotlight_llama_cpp.decoder import GenerationDecoder
from pilotlight_llama_cpp.encoder import Encoder
from pilotlight_llama_cpp.engine_thread import EngineThread
from pilotlight_llama_cpp.generation_job import GenerationJob
from pilotlight_llama_cpp.next_tokens import next_tokens
from pilotlight_llama_cpp.prompt_states import PromptStates
from pilotlight_llama_cpp.scheduler import PlannedRun, Scheduler
from pilotlight_llama_cpp.slots import Slot

logger = logging.getLogger("pilotlight.llama_cpp")


_LIVELINESS = 1.0
"""Seconds between two looks at whether the thread that is waited for has ended."""
_MEASURED = 16
"""Prompt tokens of a step from which on it says how long one takes."""


class GenerationThread(EngineThread[GenerationJob, EngineEvent]):
    """Executes the scheduler's plans, step by step."""

    _decoder: GenerationDecoder

    def __init__(
        self,
        decoder: GenerationDecoder,
        *,
        slots: int,
        chunk: int,
        baked: tuple[int, ...] = (),
        copies: bool = False,
        cuts: bool = True,
        deterministic: bool = False,
        unified: bool = False,
        whole_images: bool = False,
        draft_max: int = 0,
        most_checkpoints: int = 0,
        seconds_per_token: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """*baked* is the prompt that *decoder* has adopted into its first slot.

        *cuts*: a slot can be truncated to any length. *copies*: it can also be copied to another
        slot, and the copy truncated.
        """
        super().__init__(decoder, clock)
        self._scheduler: Scheduler[GenerationJob] = Scheduler(
            slots=slots,
            chunk=chunk,
            baked=baked,
            copies=copies,
            cuts=cuts,
            deterministic=deterministic,
            unified=unified,
            whole_images=whole_images,
            draft_max=draft_max,
        )
        self._encoder: Encoder | None = None
        self._most_checkpoints = most_checkpoints
        self._states: PromptStates | None = None
        self._to_flush: list[threading.Event] = []
        """Set when idle slots are stored; empty where no caller waits for that."""
        self.between_steps = BetweenSteps(self.wake, lambda: self.dead)
        """Calls of other threads to what this thread alone may touch."""
        self._adapters: LoadedAdapters | None = None
        self._to_clear: list[tuple[str | None, threading.Event]] = []
        """Owners whose prompts are to be forgotten, None for all; each event is set by then."""
        self._seconds_per_token = seconds_per_token
        """What a prompt's token took to evaluate, lately."""
        self._preparing: dict[GenerationJob, Future[Any]] = {}
        """Jobs whose samplers are being made, in the order they came."""
        self._prompt_tokens = self._cached_tokens = self._completion_tokens = self._steps = 0
        self._drafts = self._drafted_tokens = self._accepted_tokens = 0

    def adapt(self, adapters: LoadedAdapters) -> None:
        """Free those of *adapters* that are unloaded and not used; before `start`."""
        self._adapters = adapters

    def keep(self, states: PromptStates) -> None:
        """Keep what slots hold with *states*; before `start`."""
        self._states = states

    def see(self, encoder: Encoder) -> None:
        """Encode images with *encoder*; before `start`."""
        self._encoder = encoder

    # ── prompts, from any thread ───────────────────────────────────────────────────────────────

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
        forgotten = threading.Event()
        self._to_clear.append((owner, forgotten))
        self.wake()
        while not (self.dead or forgotten.wait(_LIVELINESS)):
            pass

    def stats(self, *, kv_capacity: int) -> EngineStats:
        """Return a snapshot; any thread. The numbers may be of slightly different moments."""
        scheduler = self._scheduler
        return EngineStats(
            slots=len(scheduler.slots),
            slots_busy=scheduler.taken,
            queued=len(self._arrived) + len(self._preparing) + len(scheduler.queue),
            kv_tokens=sum(len(slot.held) for slot in scheduler.slots),
            kv_tokens_running=sum(
                len(slot.held) for slot in scheduler.slots if slot.sequence is not None
            ),
            kv_capacity=kv_capacity,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            completion_tokens=self._completion_tokens,
            steps=self._steps,
            images_encoded=0 if self._encoder is None else self._encoder.counts().encoded,
            images_reused=0 if self._encoder is None else self._encoder.counts().reused,
            drafts=self._drafts,
            drafted_tokens=self._drafted_tokens,
            accepted_tokens=self._accepted_tokens,
            under_way=self._under_way,
            dead=self.dead,
        )

    # ── the queue and the slots ────────────────────────────────────────────────────────────────

    def _has_work(self) -> bool:
        return (
            self._scheduler.has_work
            or bool(self._to_clear)
            or not self.between_steps.is_empty
            or any(made.done() for made in self._preparing.values())
            or any(job.has_encoded for job in self._scheduler.active)
            or (self._encoder is not None and self._encoder.is_waiting)
        )

    def _idle_timeout(self) -> float | None:
        if self._states is None:
            return None
        if self._states.is_writing:  # `written` wakes the thread
            return None
        return 0.0 if self._to_flush else self._states.idle_timeout

    def _use_idle_time(self) -> None:
        if self._states is None:
            return
        idle = [slot for slot in self._scheduler.slots if slot.sequence is None]
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

    def _enqueue(self, job: GenerationJob) -> None:
        """Queue *job* once its sampler is made; jobs whose sampler takes no time pass it."""
        self._decoder.expect(job.length)
        made = self._decoder.sampler_beside(job.sampling, job.words)
        if made is None:
            self._scheduler.enqueue(job)
        else:
            self._preparing[job] = made
            made.add_done_callback(lambda _: self.wake())

    def _enqueue_prepared(self) -> None:
        prepared = [(job, made) for job, made in self._preparing.items() if made.done()]
        for job, made in prepared:
            try:
                job.sampler = made.result()
            except Exception as error:
                logger.exception("a sampler cannot be made")
                self._end(job, Failed(InferenceFailed(f"the sampler cannot be made: {error}")))
            else:
                del self._preparing[job]
                self._scheduler.enqueue(job)

    def _unended(self) -> list[GenerationJob]:
        scheduler = self._scheduler
        return [*scheduler.active, *scheduler.waiting, *scheduler.queue, *self._preparing]

    def _release(self, job: GenerationJob) -> None:
        made = self._preparing.pop(job, None)
        if made is None:
            slot = job.slot
            if slot is not None and job.image_rows:
                self._forget_rows(slot, job)
            self._scheduler.release(job)
            if slot is not None and slot.is_cleared:
                slot.is_cleared = False
                self._decoder.truncate(slot.id, 0)
                self._scheduler.forget(slot)
        elif not made.cancel():
            made.add_done_callback(_close_made)
        if job.sampler is not None:
            job.sampler.close()
        while job.encodings and self._encoder is not None:
            self._encoder.release(job.encodings.pop())

    def _forget_rows(self, slot: Slot, job: GenerationJob) -> None:
        """Take the rows of an image that is not complete out of *slot*."""
        job.image_rows = 0
        if not self._decoder.recover(slot.id, len(slot.held)):
            self._scheduler.forget(slot)

    def _fail_step(self, error: BackendError) -> None:
        for job in list(self._scheduler.active):
            self._fail(job, error)

    def _fail(self, job: GenerationJob, error: BackendError) -> None:
        """Fail *job*, and clear its slot: after a fault its state is unknown."""
        slot = job.slot
        if slot is not None:
            self._decoder.truncate(slot.id, 0)
            self._scheduler.forget(slot)
        self._end(job, Failed(error))

    # ── a step ─────────────────────────────────────────────────────────────────────────────────

    def _advance(self) -> None:
        """Admit, decode one batch, and emit the sampled tokens."""
        if self._to_clear:
            self._clear()
        self.between_steps.run()
        if self._preparing:
            self._enqueue_prepared()
        if self._states is not None:
            self._states.busy()
            self._look_up(self._states)
        for job in self._scheduler.admit(self._decoder.room):
            self._start(job)
        if self._encoder is not None:
            self._take_encoded()
        runs = self._scheduler.plan(self._decoder.room)
        if self._encoder is not None and self._encoder.is_waiting:
            self._encode_waiting(self._encoder, is_idle=not runs)
        if runs:
            self._steps += 1
            self._report_step(sum(run.size for run in runs))
            self._evaluate(runs)
        if self._adapters is not None:
            self._adapters.free()

    def used_adapters(self) -> set[str]:
        """Return the adapters of all requests; on this thread."""
        with self._wake:
            jobs = [*self._arrived, *self._unended()]
        return {one.id for job in jobs for one in job.adapters}

    def _look_up(self, states: PromptStates) -> None:
        """Ask the prompt cache for the prompts that are next."""
        for job in self._scheduler.reserve():
            if job.looked_at is None:
                job.looked_at = self._clock()
                states.find(job)
                if self._scheduler.is_fetched_for_another(job):
                    continue  # it copies that one's slot
                states.fetch(job, self._scheduler.held(job), self._seconds_per_token, self.wake)

    def _clear(self) -> None:
        # The list stays: another thread may be about to append to it.
        to_clear = [self._to_clear.pop(0) for _ in range(len(self._to_clear))]
        owners = [owner for owner, _ in to_clear]
        for slot in self._scheduler.slots:
            if None in owners or owner_of(slot.scope) in owners:
                if slot.sequence is None:
                    self._decoder.truncate(slot.id, 0)
                    self._scheduler.forget(slot)
                else:
                    slot.is_cleared = True
        for owner, forgotten in to_clear:
            try:
                if self._states is not None:  # after the slots: they are saved into it
                    self._states.clear(owner)
            finally:
                forgotten.set()

    def _start(self, job: GenerationJob) -> None:
        job.timer.admitted = self._clock()
        slot = job.slot
        if slot is not None:
            if self._states is not None:
                self._make_room(self._states, slot, job)
            if not self._prepare(slot, job):
                self._scheduler.forget(slot)
            elif job.offer.source == "cache":
                was_read = job.stored is not None and job.stored.tier == "storage"
                job.timer.restoring = job.looked_at if was_read else job.timer.admitted
                job.timer.admitted = self._clock()
        job.stored = job.displaced = None  # their states are memory
        if job.sampler is None:
            job.sampler = self._decoder.sampler(job.sampling, job.words)
        if self._encoder is not None:
            self._encode(job, self._encoder)
        cached = job.cells(job.cached_tokens)
        self._cached_tokens += cached
        self._emit(job, Started(job.length, cached, job.timer.restore))

    def _encode(self, job: GenerationJob, encoder: Encoder) -> None:
        """Begin to encode the images of the prompt that are not cached, in their order."""
        needed = (span.image for span in job.spans if span.start >= job.cached_tokens)
        for image in dict.fromkeys(needed):
            job.encodings.append(encoder.want(image))

    def _encode_waiting(self, encoder: Encoder, *, is_idle: bool) -> None:
        """Encode beside the requests that do not wait for an image; without such, here and alone.

        If there are some, their steps go on. If not, what can be evaluated before an image is, and
        then the image is encoded on this thread.
        """
        if any(job.pending is not None or not job.encodings for job in self._scheduler.active):
            encoder.begin()
        elif is_idle:
            encoder.encode_next()

    def _take_encoded(self) -> None:
        """Give each job the vectors that it waits for."""
        for job in list(self._scheduler.active):
            for one in [one for one in job.encodings if job.has_encoded and one.done]:
                if one.error is not None:
                    self._end(job, Failed(one.error))
                    break
                job.encoded[one.digest] = one.vectors

    def _make_room(self, states: PromptStates, slot: Slot, job: GenerationJob) -> None:
        """Save what *slot* still holds, in the place of what it gets if that comes from memory."""
        if job.offer.source == "cache":
            states.take(job)
        if job.displaced is not None:
            states.save(slot, job.displaced)

    def _prepare(self, slot: Slot, job: GenerationJob) -> bool:
        """Leave the cached tokens in the slot and no others; False if the slot had to be cleared.

        A restore or a copy takes less time than a chunk of prefill, so it delays running streams
        by less than any request without a cached prefix does.
        """
        offer = job.offer
        state = None if offer.checkpoint is None else memoryview(offer.checkpoint.state)
        if offer.copied_from is not None:
            return self._decoder.copy(offer.copied_from, slot.id, offer.tokens, state)
        if offer.source == "baked":
            return self._decoder.restore(slot.id)
        if offer.source == "cache" and self._states is not None:
            return self._states.restore(slot, job)
        if state is not None:
            return self._decoder.rewind(slot.id, offer.tokens, state)
        return self._decoder.truncate(slot.id, offer.tokens)

    def _evaluate(self, runs: list[PlannedRun[GenerationJob]]) -> None:
        match self._decode_runs(runs):
            case Decoded.DONE:
                self._hand_out(runs)
            case Decoded.REFUSED:
                self._evaluate_apart(runs)
            case Decoded.ABORTED:
                self._recover(runs)
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
            self._scheduler.measured(runs, seconds)
            if tokens >= _MEASURED:
                self._seconds_per_token = seconds / tokens
        return outcome

    def _may_abort(self, jobs: Collection[GenerationJob]) -> bool:
        """Return whether the step prefills.

        A decode step is short, and every text stop cancels a job in one. It runs to its end, since
        a recurrent state does not survive an abort.
        """
        return any(job.pending is None for job in jobs)

    def _recover(self, runs: list[PlannedRun[GenerationJob]]) -> None:
        """Leave in each slot what it held before an aborted step; its jobs end at the next one."""
        for run in runs:
            slot = self._scheduler.slots[run.slot]
            run.sequence.image_rows = 0
            if not self._decoder.recover(slot.id, run.start):
                self._scheduler.forget(slot)

    def _evaluate_apart(self, runs: list[PlannedRun[GenerationJob]]) -> None:
        """Clear idle slots, then decode each run alone, so that only those without room fail."""
        for slot in self._scheduler.idle_holders():
            self._decoder.truncate(slot.id, 0)
            self._scheduler.forget(slot)
        for run in (run.without_draft() for run in runs):
            match self._decode_runs([run]):
                case Decoded.DONE:
                    self._hand_out([run])
                case Decoded.ABORTED:
                    self._recover([run])
                case _:
                    self._fail(run.sequence, InferenceFailed("the KV cache is full"))

    def _hand_out(self, runs: list[PlannedRun[GenerationJob]]) -> None:
        end = 0
        for run in runs:
            end += run.size
            row = end - run.draft.length - 1  # the last certain one, by its place in the batch
            job = run.sequence
            self._scheduler.evaluated(run)
            if job.pending is None:
                self._prompt_tokens += run.size
                self._take_checkpoint(job)
            if run.sampled:
                self._sampled(run, row)

    def _take_checkpoint(self, job: GenerationJob) -> None:
        """Save the part of a state that cannot be cut back, where later prompts may part."""
        slot = job.slot
        if slot is None or len(slot.held) not in job.branches:
            return
        try:
            state = self._decoder.save(slot.id, partial=True)
        except (BackendError, MemoryError) as error:  # the request needs none
            logger.warning("a checkpoint of a slot cannot be saved: %s", error)
            return
        slot.checkpoints = thinned(
            [*slot.checkpoints, Checkpoint(len(slot.held), state)], self._most_checkpoints
        )

    def _sampled(self, run: PlannedRun[GenerationJob], row: int) -> None:
        """Sample behind *row*, and behind each row of the draft as long as that has the token."""
        job, draft = run.sequence, run.tokens[len(run.certain) :]
        job.drafted_tokens += len(draft)
        accepted = 0
        try:
            while self._take_next(job, row + accepted):
                count = self._scheduler.confirmed(job, draft[accepted:])
                accepted += count
                job.accepted_tokens += count
                if job.pending or not count:
                    break
        except GuideFailed as error:  # the slot's state is intact, and stays for reuse
            logger.warning("a request failed: %s", error, exc_info=error.__cause__)
            self._end(job, Failed(error))
        if draft:
            self._verified(run, accepted)

    def _take_next(self, job: GenerationJob, row: int) -> bool:
        """Take the token behind *row*, and those forced there; return whether *job* goes on."""
        return all(self._take(job, token, row) for token in next_tokens(self._decoder, job, row))

    def _verified(self, run: PlannedRun[GenerationJob], accepted: int) -> None:
        """Count a draft, and remove from the slot what was not accepted."""
        job, slot = run.sequence, self._scheduler.slots[run.slot]
        self._drafts += 1
        self._drafted_tokens += run.draft.length
        self._accepted_tokens += accepted
        if job.drafter is not None:
            job.drafter.verified(run.draft, accepted)
        if accepted < run.draft.length and not self._decoder.truncate(slot.id, len(slot.held)):
            self._scheduler.forget(slot)
            if not job.ended:
                self._end(job, Failed(InferenceFailed("a refused draft cannot be removed")))

    def _take(self, job: GenerationJob, token: int, row: int) -> bool:
        """Record and emit a token of the completion; return whether *job* goes on."""
        if job.timer.first_token is None:
            job.timer.first_token = self._clock()
        self._scheduler.chosen(job, token)
        self._completion_tokens += 1
        piece, ends = self._decoder.token(token)
        if ends or token in job.stop_tokens:
            self._finish(job, "stop")
            return False
        if job.logprobs is None:
            self._emit(job, Token(token, piece))
        else:
            self._emit(job, self._decoder.with_logprobs(token, row, job.logprobs))
        if job.completion_tokens >= job.limit:
            self._finish(job, "length")
            return False
        return True


def _close_made(made: Future[Any]) -> None:
    """Close a sampler that was made for a job that has ended; any thread."""
    if made.exception() is None:
        made.result().close()
