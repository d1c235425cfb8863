"""The thread of an engine that embeds: takes inputs in their order, as many as fit a step."""

import logging
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol

from pilotlight_backend import (
    BackendError,
    Embedded,
    EmbedEvent,
    EngineClosed,
    EngineStats,
    Failed,
    Finish,
    FinishReason,
    InferenceFailed,
    Started,
    Step,
    Usage,
)
from pilotlight_backend.stopwatch import Stopwatch
from pilotlight_llama_cpp.context import Decoded
from pilotlight_llama_cpp.decoder import Flag
from pilotlight_llama_cpp.packing import Part, batches, fitting

logger = logging.getLogger("pilotlight.llama_cpp")

Tokens = Sequence[int]


class Decoder(Protocol):
    """What the runner needs of a context; a fake one drives it in tests."""

    @property
    def abort(self) -> Flag:
        """What stops a decode."""

    step: int
    """Tokens of several inputs that are evaluated together, at the most."""
    part: int
    """Tokens of one input that are evaluated at once, at the most."""
    sequences: int
    """Inputs in one batch, at the most."""

    def decode(self, parts: Sequence[Part]) -> Decoded:
        """Evaluate a batch."""

    def vector(self, sequence: int) -> "array[float]":
        """Return the vector of one of the last batch's sequences; raises `InferenceFailed`."""

    def close(self) -> None:
        """Free everything."""


class EmbedJob:
    """A request: its inputs, what it wants to hear, and how far it is."""

    __slots__ = ("embedded", "emit", "ended", "inputs", "prompt_tokens", "runner", "taken", "watch")

    def __init__(
        self,
        runner: "EmbeddingRunner",
        inputs: Sequence[Tokens],
        emit: Callable[[EmbedEvent], None],
    ) -> None:
        self.runner = runner
        self.inputs = inputs
        self.emit = emit
        self.prompt_tokens = sum(map(len, inputs))
        self.taken = 0
        """Inputs that are in a step, or were."""
        self.embedded = 0
        self.ended = False
        self.watch: Stopwatch

    def cancel(self) -> None:
        """End the request at the next step; any thread."""
        self.runner.cancel(self)


class EmbeddingRunner:
    """Embeds what is submitted, step by step."""

    def __init__(self, decoder: Decoder, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._decoder = decoder
        self._clock = clock
        self._wake = threading.Condition()
        self._arrived: list[EmbedJob] = []
        self._cancelled: list[EmbedJob] = []
        self._closing = False
        self._queue: deque[EmbedJob] = deque()
        """Jobs with inputs that no step has taken yet."""
        self._waiting = 0
        """Of these, the ones that have not begun."""
        self._step: list[tuple[EmbedJob, Tokens]] = []
        self._evaluating = False
        """Whether the step is being evaluated."""
        self._prompt_tokens = self._steps = 0
        self._under_way: tuple[Step, ...] = ()
        self._turns = 0

    # From any thread. The lock guards four fields, and is never held over a step or an emit.

    def submit(self, job: EmbedJob) -> None:
        """Queue *job*; raises `EngineClosed` after `stop`."""
        job.watch = Stopwatch(self._clock())
        with self._wake:
            if self._closing:
                raise EngineClosed("the engine is closed")
            self._arrived.append(job)
            self._wake.notify()

    def cancel(self, job: EmbedJob) -> None:
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
        if self._evaluating and self._is_in_vain():
            self._decoder.abort.set()

    def _is_in_vain(self) -> bool:
        return self._closing or all(job in self._cancelled for job, _ in self._step)

    def stats(self, *, dead: bool = False) -> EngineStats:
        """Return a snapshot: the numbers are one moment's each, not all the same moment's.

        *dead* says whether the thread has ended that calls `run`.
        """
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
            dead=dead,
        )

    # On the engine's thread.

    def run(self) -> None:
        """Step while there is work, sleep while there is none, until `stop`; then free all."""
        try:
            while self._await_work():
                self._begin_turn()
                try:
                    self.step()
                except Exception as error:
                    logger.exception("a step failed")
                    self._fail_step(InferenceFailed(f"the engine failed: {error}"))
                self._under_way = ()
        finally:  # whatever ends the thread, nobody waits for it in vain
            self._close()

    def _begin_turn(self, tokens: int = 0) -> None:
        self._turns += 1
        self._under_way = (Step(self._turns, tokens),)

    def _await_work(self) -> bool:
        with self._wake:
            while not (self._closing or self._arrived or self._cancelled or self._queue):
                self._wake.wait()
            return not self._closing

    def step(self) -> None:
        """Take what arrived, then inputs as they wait, and embed them."""
        self._take_arrivals()
        self._step = self._next_inputs()
        if self._step and self._decoded():
            self._hand_out()
            self._step = []

    def _take_arrivals(self) -> None:
        with self._wake:
            arrived, self._arrived = self._arrived, []
            cancelled, self._cancelled = self._cancelled, []
            self._waiting += len(arrived)
        self._queue.extend(arrived)
        for job in cancelled:
            self._finish(job, "cancelled")

    def _next_inputs(self) -> list[tuple[EmbedJob, Tokens]]:
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

    def _begin(self, job: EmbedJob) -> None:
        self._waiting -= 1
        job.watch.admitted = self._clock()
        self._emit(job, Started(job.prompt_tokens, 0))

    def _decoded(self) -> bool:
        """Evaluate the step's inputs, a long one in parts; tell whether they have vectors now.

        They have none where all its requests were cancelled, or the engine closed.
        """
        inputs = [tokens for _, tokens in self._step]
        for parts in batches(inputs, tokens=self._decoder.part):
            self._begin_turn(sum(len(part.tokens) for part in parts))
            match self._decode(parts):
                case Decoded.DONE:
                    self._steps += 1
                    self._prompt_tokens += sum(len(part.tokens) for part in parts)
                case Decoded.ABORTED:
                    return False
                case _:
                    self._fail_step(InferenceFailed("llama.cpp could not evaluate the inputs"))
                    return False
        return True

    def _decode(self, parts: Sequence[Part]) -> Decoded:
        """Evaluate *parts* unless that is in vain, or until it is."""
        with self._wake:
            if self._is_in_vain():
                return Decoded.ABORTED
            self._decoder.abort.clear()
            self._evaluating = True
        try:
            return self._decoder.decode(parts)
        finally:
            with self._wake:
                self._evaluating = False

    def _hand_out(self) -> None:
        for sequence, (job, _) in enumerate(self._step):
            if job.ended:  # another input of its failed
                continue
            try:
                vector = self._decoder.vector(sequence)
            except InferenceFailed as error:
                self._end(job, Failed(error))
                continue
            job.embedded += 1
            self._emit(job, Embedded(vector))
            if job.embedded == len(job.inputs):
                job.watch.answering = self._clock()
                self._finish(job, "stop")

    def _finish(self, job: EmbedJob, reason: FinishReason) -> None:
        if not job.ended:
            usage = Usage(prompt_tokens=job.prompt_tokens, completion_tokens=0)
            self._end(job, Finish(reason, usage, job.watch.timings(self._clock())))

    def _fail_step(self, error: BackendError) -> None:
        for job in dict.fromkeys(job for job, _ in self._step):
            if not job.ended:
                self._end(job, Failed(error))
        self._step = []

    def _end(self, job: EmbedJob, last: Finish | Failed) -> None:
        if job in self._queue:
            self._queue.remove(job)
        if not job.taken:
            self._waiting -= 1
        job.ended = True
        self._emit(job, last)

    def _emit(self, job: EmbedJob, event: EmbedEvent) -> None:
        try:
            job.emit(event)
        except Exception:
            logger.exception("a listener failed; its request is cancelled")
            self.cancel(job)

    def _close(self) -> None:
        self._take_arrivals()
        closed = EngineClosed("the engine was closed before the request ended")
        for job in dict.fromkeys([*(job for job, _ in self._step), *self._queue]):
            if not job.ended:
                self._end(job, Failed(closed))
        self._decoder.close()
