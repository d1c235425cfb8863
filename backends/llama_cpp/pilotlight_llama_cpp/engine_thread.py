"""The thread that owns an engine's context: its inbox, its loop, and how requests end.

A `llama_context` is not thread-safe, so one thread makes every call to it. `EngineThread` is what
engines that generate and engines that embed have in common; a subclass says what a step is.
"""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from pilotlight_backend import (
    BackendError,
    EngineClosed,
    Failed,
    Finish,
    FinishReason,
    InferenceFailed,
    Step,
    Usage,
)
from pilotlight_backend.timing import RequestTimer
from pilotlight_llama_cpp.batch import Decoded

logger = logging.getLogger("pilotlight.llama_cpp")


class Flag(Protocol):
    """Stops a decode under way; any thread."""

    def set(self) -> None:
        """Stop it."""

    def clear(self) -> None:
        """Let the next one run."""


class AbortableDecoder(Protocol):
    """A context whose decode can be stopped from another thread."""

    @property
    def abort(self) -> Flag:
        """What stops a decode."""

    def decode(self, runs: Sequence[Any], /) -> Decoded:
        """Evaluate a batch; `ABORTED` if `abort` is set meanwhile."""

    def close(self) -> None:
        """Free everything."""


class EngineJob(ABC):
    """A request as its engine's thread sees it; also the ticket that its caller holds."""

    __slots__ = ()

    thread: "EngineThread[Any, Any]"
    emit: Callable[[Any], None]
    ended: bool
    timer: RequestTimer

    def cancel(self) -> None:
        """End the request at the next step; any thread."""
        self.thread.cancel(self)

    @abstractmethod
    def usage(self) -> Usage:
        """Return the tokens so far."""


J = TypeVar("J", bound=EngineJob)
E = TypeVar("E")


class EngineThread(ABC, Generic[J, E]):
    """Serves jobs of type *J* step by step; *E* is what they emit besides their last event."""

    def __init__(self, decoder: AbortableDecoder, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._decoder = decoder
        self._thread: threading.Thread | None = None
        self._wake = threading.Condition()
        """Guards the four fields below; never held over a step or an `emit`."""
        self._arrived: list[J] = []
        self._cancelled: list[J] = []
        self._closing = False
        self._decoding: Collection[J] = ()
        """The jobs in the batch of the decode under way."""
        self._step_number = 0
        self._under_way: tuple[Step, ...] = ()

    # ── from any thread ────────────────────────────────────────────────────────────────────────

    def start(self, name: str) -> None:
        """Start the thread, named after the model."""
        # A daemon, so that a process that forgot to close the engine can still end.
        self._thread = threading.Thread(target=self.run, name=f"llama.cpp {name}", daemon=True)
        self._thread.start()

    @property
    def dead(self) -> bool:
        """Whether the thread has ended: nothing is answered any more."""
        return self._thread is not None and not self._thread.is_alive()

    def submit(self, job: J) -> None:
        """Queue *job*; raises `EngineClosed` after `stop`."""
        job.timer = RequestTimer(self._clock())
        with self._wake:
            if self._closing:
                raise EngineClosed("the engine is closed")
            self._arrived.append(job)
            self._wake.notify()

    def cancel(self, job: J) -> None:
        """End *job* at the next step, and abort the step under way if it serves no other job."""
        with self._wake:
            if not job.ended:
                self._cancelled.append(job)
                self._abort_unwanted()
                self._wake.notify()

    def stop(self) -> None:
        """Make `run` abort the step under way, fail every job, and return."""
        with self._wake:
            self._closing = True
            self._abort_unwanted()
            self._wake.notify()

    def wake(self) -> None:
        """Make `run` look for work again."""
        with self._wake:
            self._wake.notify()

    def close(self) -> None:
        """Stop, and wait until everything is freed; on the engine's own thread it does not wait."""
        self.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _abort_unwanted(self) -> None:
        """Abort the decode under way if its result is of no use. The lock is held."""
        if self._decoding and self._is_unwanted(self._decoding):
            self._decoder.abort.set()

    def _is_unwanted(self, jobs: Collection[J]) -> bool:
        """Return whether the result of a decode for *jobs* is of no use. The lock is held."""
        return self._closing or (
            all(job in self._cancelled for job in jobs) and self._may_abort(jobs)
        )

    # ── on the engine's thread ─────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Step while there is work, sleep while there is none, until `stop`; then free all."""
        try:
            while self._await_work():
                self._report_step(0)
                try:
                    self.step()
                except Exception as error:
                    logger.exception("a step failed")
                    self._fail_step(InferenceFailed(f"the engine failed: {error}"))
                self._under_way = ()
        finally:  # also after a fault in this loop: no caller waits for a thread that has ended
            self._close_all()

    def step(self) -> None:
        """Take new and cancelled jobs from the inbox, and advance by one step."""
        self._take_arrivals()
        self._advance()

    def _await_work(self) -> bool:
        """Sleep until there is work; return False once the engine closes."""
        while True:
            with self._wake:
                while not (self._closing or self._arrived or self._cancelled or self._has_work()):
                    timeout = self._idle_timeout()
                    if timeout is not None and timeout <= 0:
                        break
                    self._rest()
                    self._wake.wait(timeout)
                else:
                    return not self._closing
            self._use_idle_time()

    def _take_arrivals(self) -> None:
        if not (self._arrived or self._cancelled):
            return  # read without the lock: what is appended right now is taken at the next step
        with self._wake:
            arrived, self._arrived = self._arrived, []
            cancelled, self._cancelled = self._cancelled, []
        for job in arrived:
            try:
                self._enqueue(job)
            except Exception as error:  # the others are not to wait for ever
                logger.exception("a request cannot be queued")
                job.ended = True
                self.emit(job, Failed(InferenceFailed(f"the engine failed: {error}")))
        for job in cancelled:
            self.finish(job, "cancelled")

    def _report_step(self, tokens: int) -> None:
        """Report a new step of *tokens* tokens in the stats, where the service watches its age."""
        self._step_number += 1
        self._under_way = (Step(self._step_number, tokens),)

    def _decode(self, jobs: Collection[J], runs: Sequence[Any]) -> Decoded:
        """Decode *runs*, which belong to *jobs*, unless or until their result is of no use."""
        with self._wake:
            if self._is_unwanted(jobs):
                return Decoded.ABORTED
            self._decoder.abort.clear()
            self._decoding = jobs
        try:
            return self._decoder.decode(runs)
        finally:
            with self._wake:
                self._decoding = ()

    def finish(self, job: J, reason: FinishReason) -> None:
        """End *job*, with its usage and timings; no-op if it has ended."""
        if not job.ended:
            self.end(job, Finish(reason, job.usage(), job.timer.timings(self._clock())))

    def end(self, job: J, last: Finish | Failed) -> None:
        """Free what *job* has, and emit its last event."""
        self._release(job)
        job.ended = True
        self.emit(job, last)

    def emit(self, job: J, event: E | Finish | Failed) -> None:
        """Emit an event of *job*; one whose `emit` raises is cancelled."""
        try:
            job.emit(event)
        except Exception:
            logger.exception("emit raised; its request is cancelled")
            self.cancel(job)

    def _close_all(self) -> None:
        with self._wake:  # also after a fault: what came later would wait for ever
            self._closing = True
        self._take_arrivals()
        closed = EngineClosed("the engine was closed before the request ended")
        for job in self._unended():
            self.end(job, Failed(closed))
        self._free()

    def _free(self) -> None:
        """Free what the thread owns, once every job has ended."""
        self._decoder.close()

    def _rest(self) -> None:
        """Begin what uses the time while nothing runs. Takes no time; the lock is held."""

    # ── what a subclass says ───────────────────────────────────────────────────────────────────

    def _may_abort(self, jobs: Collection[J]) -> bool:
        """Return whether a decode for *jobs*, all of them cancelled, is worth aborting."""
        del jobs
        return True

    def _idle_timeout(self) -> float | None:
        """Return after how many idle seconds `_use_idle_time` is called; None for never."""
        return None

    def _use_idle_time(self) -> None:
        """Do something short that no request waits for."""

    @abstractmethod
    def _has_work(self) -> bool:
        """Return whether a job is running or queued."""

    @abstractmethod
    def _enqueue(self, job: J) -> None:
        """Put *job* at the end of the queue; what this raises ends *job* alone, not queued."""

    @abstractmethod
    def _advance(self) -> None:
        """Start jobs, decode one step, and emit its events."""

    @abstractmethod
    def _fail_step(self, error: BackendError) -> None:
        """Fail the jobs of the step that raised; queued ones stay queued."""

    @abstractmethod
    def _release(self, job: J) -> None:
        """Remove *job*, which ends, from its slot or the queue, and free what it owns."""

    @abstractmethod
    def _unended(self) -> Iterable[J]:
        """Return all jobs in a new list, running ones before queued ones."""
