"""The thread of an engine that embeds or ranks: each step takes as many queued inputs as fit."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Protocol, TypeAlias

from pilotlight_backend import (
    BackendError,
    Embedded,
    EmbedEvent,
    EngineStats,
    Failed,
    InferenceFailed,
    RankEvent,
    Scored,
    Started,
    Usage,
)
from pilotlight_backend.timing import RequestTimer
from pilotlight_llama_cpp.batch import Decoded, Tokens
from pilotlight_llama_cpp.engine_thread import EngineJob, EngineThread, Flag
from pilotlight_llama_cpp.packing import InputPart, batches, fitting

PoolEvent: TypeAlias = EmbedEvent | RankEvent


class PoolingDecoder(Protocol):
    """What `PoolingThread` needs of a context; tests have a fake one."""

    @property
    def abort(self) -> Flag:
        """What stops a decode."""

    step: int
    """Most tokens of several inputs in one batch."""
    part: int
    """Most tokens of one input in one batch; a longer input comes in parts."""
    sequences: int
    """Most inputs in one batch."""

    def decode(self, parts: Sequence[InputPart]) -> Decoded:
        """Decode a batch."""

    def output(self, sequence: int) -> Embedded | Scored:
        """Return the output of one of the last batch's sequences; raises `InferenceFailed`."""

    def close(self) -> None:
        """Free everything."""


class PoolingJob(EngineJob):
    """A request: its inputs, its listener, and how many inputs are done."""

    __slots__ = ("done", "emit", "ended", "inputs", "prompt_tokens", "taken", "thread", "timer")

    def __init__(
        self,
        thread: "PoolingThread",
        inputs: Sequence[Tokens],
        emit: Callable[[Any], None],
    ) -> None:
        self.thread = thread
        self.inputs = inputs
        self.emit = emit
        self.prompt_tokens = sum(map(len, inputs))
        self.taken = 0
        """Inputs that the current or an earlier step has taken."""
        self.done = 0
        self.ended = False
        self.timer: RequestTimer

    def usage(self) -> Usage:
        """Return the tokens of the inputs."""
        return Usage(prompt_tokens=self.prompt_tokens, completion_tokens=0)


class PoolingThread(EngineThread[PoolingJob, PoolEvent]):
    """Pools what is submitted, step by step."""

    _decoder: PoolingDecoder

    def __init__(
        self, decoder: PoolingDecoder, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        super().__init__(decoder, clock)
        self._queue: deque[PoolingJob] = deque()
        """Jobs with inputs that no step has taken yet."""
        self._waiting = 0
        """How many of these have not started."""
        self._step: list[tuple[PoolingJob, Tokens]] = []
        self._prompt_tokens = self._steps = 0

    def stats(self) -> EngineStats:
        """Return a snapshot; any thread. The numbers may be of slightly different moments."""
        return EngineStats(
            slots=self._decoder.sequences,
            slots_busy=len(self._step),
            queued=len(self._arrived) + self._waiting,
            kv_tokens=0,
            kv_capacity=0,
            prompt_tokens=self._prompt_tokens,
            cached_tokens=0,
            completion_tokens=0,
            steps=self._steps,
            under_way=self._under_way,
            dead=self.dead,
        )

    # ── the queue ──────────────────────────────────────────────────────────────────────────────

    def _has_work(self) -> bool:
        return bool(self._queue)

    def _enqueue(self, job: PoolingJob) -> None:
        self._queue.append(job)
        self._waiting += 1

    def _unended(self) -> list[PoolingJob]:
        return [job for job in dict.fromkeys([*self._stepping(), *self._queue]) if not job.ended]

    def _stepping(self) -> list[PoolingJob]:
        """Return the jobs whose inputs are in the step, each once."""
        return list(dict.fromkeys(job for job, _ in self._step))

    def _release(self, job: PoolingJob) -> None:
        if job in self._queue:
            self._queue.remove(job)
        if not job.taken:
            self._waiting -= 1

    def _fail_step(self, error: BackendError) -> None:
        for job in self._stepping():
            if not job.ended:
                self.end(job, Failed(error))
        self._step = []

    # ── a step ─────────────────────────────────────────────────────────────────────────────────

    def _advance(self) -> None:
        """Take inputs from the queue, as many as fit, and pool them."""
        self._step = self._next_inputs()
        if self._step and self._decoded():
            self._hand_out()
            self._step = []

    def _next_inputs(self) -> list[tuple[PoolingJob, Tokens]]:
        waiting = ((job, one) for job in self._queue for one in job.inputs[job.taken :])
        candidates = list(islice(waiting, self._decoder.sequences))
        lengths = [len(tokens) for _, tokens in candidates]
        count = fitting(lengths, tokens=self._decoder.step, sequences=self._decoder.sequences)
        for job, _ in candidates[:count]:
            if not job.taken:
                self._begin(job)
            job.taken += 1
        while self._queue and self._queue[0].taken == len(self._queue[0].inputs):
            self._queue.popleft()
        return candidates[:count]

    def _begin(self, job: PoolingJob) -> None:
        self._waiting -= 1
        job.timer.admitted = self._clock()
        self.emit(job, Started(job.prompt_tokens, 0))

    def _decoded(self) -> bool:
        """Decode the step's inputs, a long one in parts; return whether they have outputs.

        They have none if all jobs of the step were cancelled, if the engine closes, or if the
        decode failed, which fails the jobs.
        """
        inputs = [tokens for _, tokens in self._step]
        jobs = self._stepping()
        for parts in batches(inputs, tokens=self._decoder.part):
            self._report_step(sum(len(part.tokens) for part in parts))
            match self._decode(jobs, parts):
                case Decoded.DONE:
                    self._steps += 1
                    self._prompt_tokens += sum(len(part.tokens) for part in parts)
                case Decoded.ABORTED:
                    return False
                case _:
                    self._fail_step(InferenceFailed("llama.cpp failed to decode the inputs"))
                    return False
        return True

    def _hand_out(self) -> None:
        for sequence, (job, _) in enumerate(self._step):
            if job.ended:  # another of its inputs failed
                continue
            try:
                output = self._decoder.output(sequence)
            except InferenceFailed as error:
                self.end(job, Failed(error))
                continue
            job.done += 1
            self.emit(job, output)
            if job.done == len(job.inputs):
                job.timer.first_token = self._clock()
                self.finish(job, "stop")
