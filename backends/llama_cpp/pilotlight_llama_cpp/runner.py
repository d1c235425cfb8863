"""The engine's thread: it alone touches the context, and tells each request what happens to it."""

import logging
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence as Tokens
from typing import Any

from pilotlight_backend import (
    BackendError,
    EngineClosed,
    EngineEvent,
    EngineStats,
    Failed,
    Finish,
    FinishReason,
    GenerateRequest,
    GuideFailed,
    InferenceFailed,
    Started,
    Step,
    Token,
    Usage,
)
from pilotlight_backend.stopwatch import Stopwatch
from pilotlight_llama_cpp.context import Decoded
from pilotlight_llama_cpp.decoder import Decoder
from pilotlight_llama_cpp.scheduler import Part, Scheduler, Sequence, Slot

logger = logging.getLogger("pilotlight.llama_cpp")


class Job(Sequence):
    """A sequence with what its request wants to hear, and when things happened to it."""

    __slots__ = (
        "emit",
        "ended",
        "ends",
        "guide",
        "ignore_eos",
        "logprobs",
        "min_tokens",
        "runner",
        "sampler",
        "sampling",
        "stop_tokens",
        "watch",
    )

    def __init__(
        self,
        runner: "Runner",
        request: GenerateRequest,
        emit: Callable[[EngineEvent], None],
        limit: int,
        ends: Tokens[int] = (),
    ) -> None:
        """Note what *request* wants; *ends* are the tokens that end a generation."""
        super().__init__(request.prompt, limit, shares_prompt=request.shares_prompt)
        self.runner = runner
        self.emit = emit
        self.sampling = request.sampling
        self.stop_tokens = request.stop_token_ids
        self.ends = ends
        self.ignore_eos = request.ignore_eos
        self.min_tokens = request.min_tokens
        self.logprobs = request.logprobs
        self.guide = request.guide
        self.sampler: Any = None
        self.ended = False
        self.watch: Stopwatch

    def cancel(self) -> None:
        """End the request at the next step; any thread."""
        self.runner.cancel(self)

    def withheld(self) -> Tokens[int]:
        """Return the tokens that the next one may not be."""
        if self.completion_tokens < self.min_tokens:
            return (*self.ends, *self.stop_tokens)
        return self.ends if self.ignore_eos else ()

    def usage(self) -> Usage:
        """Return the tokens so far."""
        return Usage(
            prompt_tokens=len(self.prompt),
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
        )


class Runner:
    """Executes the scheduler's plans, step by step."""

    def __init__(
        self,
        decoder: Decoder,
        *,
        slots: int,
        chunk: int,
        baked: tuple[int, ...] = (),
        copies: bool = False,
        cuts: bool = True,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """*baked* are the tokens that the decoder's first slot holds, for it has adopted them.

        *cuts* says whether a slot can be cut back to a part of what it holds, *copies* whether it
        can be copied too, and the copy cut back.
        """
        self._decoder = decoder
        self._scheduler: Scheduler[Job] = Scheduler(
            slots=slots, chunk=chunk, baked=baked, copies=copies, cuts=cuts
        )
        self._clock = clock
        self._wake = threading.Condition()
        self._arrived: list[Job] = []
        self._cancelled: list[Job] = []
        self._closing = False
        self._evaluating: tuple[Job, ...] = ()
        """Whom the decode under way is for."""
        self._prompt_tokens = self._cached_tokens = self._completion_tokens = self._steps = 0
        self._under_way: tuple[Step, ...] = ()
        self._turns = 0

    # From any thread. The lock guards four fields, and is never held over a step or an emit.

    def submit(self, job: Job) -> None:
        """Queue *job*; raises `EngineClosed` after `stop`."""
        job.watch = Stopwatch(self._clock())
        with self._wake:
            if self._closing:
                raise EngineClosed("the engine is closed")
            self._arrived.append(job)
            self._wake.notify()

    def cancel(self, job: Job) -> None:
        """End *job* at the next step, and the step under way where it is for nobody else."""
        with self._wake:
            if not job.ended:
                self._cancelled.append(job)
                self._abort_in_vain()
                self._wake.notify()

    def stop(self) -> None:
        """Make `run` end the step under way, then every request, and return."""
        with self._wake:
            self._closing = True
            self._abort_in_vain()
            self._wake.notify()

    def _abort_in_vain(self) -> None:
        """Stop the decode under way where nobody waits for it any more; the lock is held."""
        if self._evaluating and self._is_in_vain(self._evaluating):
            self._decoder.abort.set()

    def _is_in_vain(self, jobs: Tokens[Job]) -> bool:
        """Tell whether a step for *jobs* is to stop: all are cancelled, or the engine closes.

        A step without a prompt is short, and cancelled at each stop string: it is let finish, since
        a recurrent state does not survive an aborted one.
        """
        return self._closing or (
            all(job in self._cancelled for job in jobs) and any(job.pending is None for job in jobs)
        )

    def stats(self, *, kv_capacity: int, dead: bool = False) -> EngineStats:
        """Return a snapshot: the numbers are one moment's each, not all the same moment's.

        *dead* says whether the thread has ended that calls `run`.
        """
        scheduler = self._scheduler
        return EngineStats(
            slots=len(scheduler.slots),
            slots_busy=scheduler.taken,
            queued=len(self._arrived) + len(scheduler.queue),
            kv_tokens=sum(len(slot.held) for slot in scheduler.slots),
            kv_tokens_running=sum(
                len(slot.held) for slot in scheduler.slots if slot.sequence is not None
            ),
            kv_capacity=kv_capacity,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            completion_tokens=self._completion_tokens,
            steps=self._steps,
            under_way=self._under_way,
            dead=dead,
        )

    # On the engine's thread.

    def run(self) -> None:
        """Step while there is work, sleep while there is none, until `stop`; then free all."""
        try:
            while self._await_work():
                self._turns += 1
                self._under_way = (Step(self._turns, 0),)
                try:
                    self.step()
                except Exception as error:
                    logger.exception("a step failed")
                    self._fail_active(InferenceFailed(f"the engine failed: {error}"))
                self._under_way = ()
        finally:  # whatever ends the thread, nobody waits for it in vain
            self._close()

    def _await_work(self) -> bool:
        with self._wake:
            while not (
                self._closing or self._arrived or self._cancelled or self._scheduler.has_work
            ):
                self._wake.wait()
            return not self._closing

    def step(self) -> None:
        """Take what arrived, admit, evaluate one batch, and hand out what was sampled."""
        self._take_arrivals()
        for job in self._scheduler.admit():
            self._start(job)
        parts = self._scheduler.plan()
        if parts:
            self._steps += 1
            self._under_way = (Step(self._turns, sum(len(part.tokens) for part in parts)),)
            self._evaluate(parts)

    def _take_arrivals(self) -> None:
        if not (self._arrived or self._cancelled):
            return  # appended under the lock before it is notified; the next step sees the rest
        with self._wake:
            arrived, self._arrived = self._arrived, []
            cancelled, self._cancelled = self._cancelled, []
        for job in arrived:
            self._scheduler.enqueue(job)
        for job in cancelled:
            self._finish(job, "cancelled")

    def _start(self, job: Job) -> None:
        job.watch.admitted = self._clock()
        self._decoder.expect(len(job.prompt))
        slot = job.slot
        if slot is not None and not self._prepare(slot, job):
            self._scheduler.forget(slot)
        job.sampler = self._decoder.sampler(job.sampling, job.prompt)
        self._cached_tokens += job.cached_tokens
        self._emit(job, Started(len(job.prompt), job.cached_tokens))

    def _prepare(self, slot: Slot, job: Job) -> bool:
        """Leave the cached tokens in the slot and no others; False where nothing could be left.

        To put the baked prompt or a copy there takes less than a chunk of a prompt does, so no
        running stream waits longer for it than for any other newcomer.
        """
        if job.copied_from is not None:
            return self._decoder.copy(job.copied_from, slot.id, job.cached_tokens)
        if job.from_baked:
            return self._decoder.restore(slot.id)
        return self._decoder.truncate(slot.id, job.cached_tokens)

    def _evaluate(self, parts: list[Part[Job]]) -> None:
        match self._decode(parts):
            case Decoded.DONE:
                self._hand_out(parts)
            case Decoded.REFUSED:
                self._evaluate_apart(parts)
            case Decoded.ABORTED:
                self._recover(parts)
            case Decoded.BROKEN:
                for part in parts:
                    self._fail(part.sequence, InferenceFailed("llama.cpp could not decode"))

    def _decode(self, parts: list[Part[Job]]) -> Decoded:
        """Evaluate *parts* unless that is in vain, or until it is."""
        jobs = tuple(part.sequence for part in parts)
        with self._wake:
            if self._is_in_vain(jobs):
                return Decoded.ABORTED
            self._decoder.abort.clear()
            self._evaluating = jobs
        try:
            return self._decoder.decode(parts)
        finally:
            with self._wake:
                self._evaluating = ()

    def _recover(self, parts: list[Part[Job]]) -> None:
        """Leave in each slot what it held before an aborted step; its requests end at the next."""
        for part in parts:
            slot = self._scheduler.slots[part.slot]
            if not self._decoder.recover(slot.id, part.start):
                self._scheduler.forget(slot)

    def _evaluate_apart(self, parts: list[Part[Job]]) -> None:
        """Find room, then whom the refusal was for: one request's trouble is no other's."""
        for slot in self._scheduler.idle_holders():
            self._decoder.truncate(slot.id, 0)
            self._scheduler.forget(slot)
        for part in parts:
            match self._decode([part]):
                case Decoded.DONE:
                    self._hand_out([part])
                case Decoded.ABORTED:
                    self._recover([part])
                case _:
                    self._fail(part.sequence, InferenceFailed("the KV cache has no room left"))

    def _hand_out(self, parts: list[Part[Job]]) -> None:
        row = -1
        for part in parts:
            row += len(part.tokens)
            job = part.sequence
            self._scheduler.evaluated(part)
            if job.pending is None:
                self._prompt_tokens += len(part.tokens)
            if part.sampled:
                self._sampled(job, row)

    def _sampled(self, job: Job, row: int) -> None:
        try:
            token = self._choose(job, row)
        except GuideFailed as error:  # the cache is as it should be, and stays for reuse
            logger.warning("a request ends: %s", error, exc_info=error.__cause__)
            self._end(job, Failed(error))
            return
        if job.watch.answering is None:
            job.watch.answering = self._clock()
        self._scheduler.sampled(job, token)
        self._completion_tokens += 1
        piece, ends = self._decoder.token(token)
        if ends or token in job.stop_tokens:
            self._finish(job, "stop")
            return
        if job.logprobs is None:
            self._emit(job, Token(token, piece))
        else:
            self._emit(job, self._decoder.with_logprobs(token, row, job.logprobs))
        if job.completion_tokens >= job.limit:
            self._finish(job, "length")

    def _choose(self, job: Job, row: int) -> int:
        withheld = job.withheld()
        if job.guide is None and not withheld:
            return self._decoder.sample(job.sampler, row)
        return self._decoder.sample_guided(
            job.sampler, row, job.guide, withheld=withheld, restore=job.logprobs is not None
        )

    def _finish(self, job: Job, reason: FinishReason) -> None:
        if not job.ended:
            self._end(job, Finish(reason, job.usage(), job.watch.timings(self._clock())))

    def _fail(self, job: Job, error: BackendError) -> None:
        """End *job*, and let go of what its slot holds: nobody knows what that is."""
        slot = job.slot
        if slot is not None:
            self._decoder.truncate(slot.id, 0)
            self._scheduler.forget(slot)
        self._end(job, Failed(error))

    def _fail_active(self, error: BackendError) -> None:
        for job in list(self._scheduler.active):
            self._fail(job, error)

    def _end(self, job: Job, last: Finish | Failed) -> None:
        self._scheduler.release(job)
        job.ended = True
        if job.sampler is not None:
            job.sampler.close()
        self._emit(job, last)

    def _emit(self, job: Job, event: EngineEvent) -> None:
        try:
            job.emit(event)
        except Exception:
            logger.exception("a listener failed; its request is cancelled")
            self.cancel(job)

    def _close(self) -> None:
        self._take_arrivals()
        closed = EngineClosed("the engine was closed before the request ended")
        scheduler = self._scheduler
        for job in [*scheduler.active, *scheduler.waiting, *scheduler.queue]:
            self._end(job, Failed(closed))
        self._decoder.close()
