"""What is under way in an engine's process, and the thread that listens to it."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from msgspec.structs import replace

from pilotlight_backend.errors import BackendError, EngineClosed, GuideFailed, InferenceFailed
from pilotlight_backend.guide import Guide
from pilotlight_backend.types import EngineStats, Failed, Finish, Step
from pilotlight_isolation import wire
from pilotlight_isolation.problem import rebuild
from pilotlight_isolation.process import Process

logger = logging.getLogger("pilotlight.isolation")

_HEARD_AFTER = 8
"""Events after which the engine is told that they were heard: fewer than it may be ahead."""
_CLOSE_SECONDS = 1.0
"""What an engine may take to close before its process is killed: that frees all memory too."""


class Request:
    """A request under way; also its ticket."""

    __slots__ = ("_cancel", "accepted", "cancelled", "emit", "guide", "id")

    def __init__(
        self,
        cancel: Callable[["Request"], None],
        number: int,
        emit: Callable[[Any], None],
        guide: Guide | None,
    ) -> None:
        self._cancel = cancel
        self.id = number
        self.emit = emit
        self.guide = guide
        self.accepted = False
        """Whether the guide was told of a token that the listener was not."""
        self.cancelled = False

    def cancel(self) -> None:
        """End the request at the engine's next step; any thread."""
        self._cancel(self)


class Connection:
    """Requests and calls to one process. Every method may be called from any thread."""

    def __init__(self, process: Process, name: str, snapshot: wire.Snapshot) -> None:
        """Listen to *process*, whose engine is loaded; *name* is the model's."""
        self._process = process
        self._name = name
        self._snapshot = snapshot
        self._lock = threading.Lock()
        """Guards what follows; never held while something is sent or emitted."""
        self._requests: dict[int, Request] = {}
        self._calls: dict[int, Future[Any]] = {}
        self._called: dict[int, Step] = {}
        """The calls under way as steps: one that hangs is seen as an engine's step is."""
        self._number = 0
        self._submitted = 0
        self._looks = self._looked = 0
        self._heard = 0
        self._closing = False
        self._killed: str | None = None
        """Why it was killed."""
        self._ended: BackendError | None = None
        """What ended it, once it has ended."""
        # A daemon: a process that forgot to close the engine can still end.
        self._thread = threading.Thread(target=self._listen, name=f"isolated {name}", daemon=True)
        self._thread.start()

    # ── asking ─────────────────────────────────────────────────────────────────────────────────

    def submit(
        self,
        order: Callable[[int], wire.Submit | wire.Embed],
        emit: Callable[[Any], None],
        guide: Guide | None = None,
    ) -> Request:
        """Send the request that *order* makes of its number. Raises `EngineClosed`."""
        with self._lock:
            self._check_open()
            self._number += 1
            request = Request(self._cancel, self._number, emit, guide)
            self._requests[request.id] = request
            self._submitted += 1
        self._process.tell(order(request.id))
        return request

    def _cancel(self, request: Request) -> None:
        if request.id in self._requests:
            request.cancelled = True
            self._process.tell(wire.Cancel(request.id))

    def call(self, order: Callable[[int], wire.Call], tokens: int = 0) -> Any:
        """Return the answer to what *order* makes of its number, or raise it; waits for it.

        *tokens* is how many it has to do with, for a call of many may take longer.
        """
        answer: Future[Any] = Future()
        with self._lock:
            self._check_open()
            self._number += 1
            number = self._number
            self._calls[number] = answer
            self._called[number] = Step(_call_step(number), tokens)
        try:
            self._process.tell(order(number))
            return answer.result()
        finally:
            with self._lock:
                del self._called[number]

    def _check_open(self) -> None:
        if self._closing or self._ended is not None:
            raise EngineClosed("the engine is closed")

    def stats(self) -> EngineStats:
        """Return what the engine last told, and ask it to tell again.

        A question that it has not answered counts as a step under way: a process that hangs
        answers none, whatever it hangs in. A call does too: it may hang on a thread of its own.
        """
        with self._lock:
            snapshot = self._snapshot
            if self._ended is not None:
                return replace(
                    snapshot.stats,
                    slots_busy=0,
                    queued=0,
                    kv_tokens=0,
                    kv_tokens_running=0,
                    under_way=(),
                    dead=True,
                )
            ask = self._looks == self._looked
            self._looks += ask
            asked = self._looks
            queued = snapshot.stats.queued + self._submitted - snapshot.requests
            called = tuple(self._called.values())
        if ask:
            self._process.tell(wire.Look())
        under_way = (*snapshot.stats.under_way, Step(_look_step(asked), 0), *called)
        return replace(snapshot.stats, queued=queued, under_way=under_way)

    # ── ending ─────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Close the engine and wait for its process's end, save on the listening thread."""
        with self._lock:
            first = not self._closing
            self._closing = True
        if first:
            self._process.tell(wire.Close())
        if threading.current_thread() is self._thread:
            return
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            logger.warning("%s: its engine does not close, and its process is killed", self._name)
            self._process.kill()
            self._thread.join()

    def kill(self, reason: str) -> None:
        """End the process at once; its requests fail for *reason*."""
        with self._lock:
            self._killed = self._killed or reason
        self._process.kill()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    # ── on the listening thread ────────────────────────────────────────────────────────────────

    def _listen(self) -> None:
        try:
            while (words := self._process.hear()) is not None:
                for word in words:
                    self._hear(word)
        except Exception:  # it may say what nobody understands, when its memory is no more its own
            logger.exception("%s: its process is not understood, and is killed", self._name)
            self._process.kill()
        self._end(self._process.end())

    def _end(self, how: str) -> None:
        """Fail all that is under way; *how* is how the process ended."""
        with self._lock:
            error = self._ended = self._cause(how)
            requests, self._requests = self._requests, {}
            calls, self._calls = self._calls, {}
        if not isinstance(error, EngineClosed):
            logger.error("%s", error)
        for request in requests.values():
            self._emit(request, Failed(error))
        for call in calls.values():
            call.set_exception(type(error)(str(error)))

    def _cause(self, how: str) -> BackendError:
        if self._killed is not None:
            return InferenceFailed(self._killed)
        if self._closing:
            return EngineClosed("the engine was closed before the request ended")
        return InferenceFailed(f"{self._name}: the engine's process {how}")

    def _hear(self, word: wire.Word) -> None:
        match word:
            case wire.Events():
                self._snapshot = word.snapshot
                for number, event in word.events:
                    self._pass_on(number, event)
                self._count(len(word.events))
            case wire.Restrict():
                self._process.tell(wire.Restricted(self._restrict(word)))
            case wire.Answered():
                self._calls.pop(word.id).set_result(word.value)
            case wire.NotAnswered():
                self._calls.pop(word.id).set_exception(rebuild(word.problem))
            case wire.Looked():
                self._snapshot = word.snapshot
                self._looked += 1

    def _count(self, events: int) -> None:
        self._heard += events
        if self._heard >= _HEARD_AFTER:
            self._process.tell(wire.Heard(self._heard))
            self._heard = 0

    def _pass_on(self, number: int, event: wire.Event) -> None:
        request = self._requests.get(number)
        if request is None:
            return  # its guide has failed, and the engine had gone on meanwhile
        if request.cancelled and not request.accepted and not isinstance(event, Finish | Failed):
            return  # it was on its way when the request was cancelled: here that is a step's end
        match event:
            case wire.Accepted():
                self._accept(request, event.token)
                return
            case wire.Vector():
                self._emit(request, event.embedded())
            case Finish() | Failed():
                del self._requests[number]
                self._emit(request, _in_order(event) if request.cancelled else event)
            case _:
                self._emit(request, event)
        request.accepted = False

    def _emit(self, request: Request, event: object) -> None:
        try:
            request.emit(event)
        except Exception:
            # Nobody listens any more; the others must not suffer for it.
            logger.exception("a listener failed; its request is cancelled")
            request.cancel()

    # ── guides ─────────────────────────────────────────────────────────────────────────────────

    def _restrict(self, word: wire.Restrict) -> bool:
        request = self._requests.get(word.id)
        if request is None or request.guide is None:
            return False
        scores = self._process.row.scores(word.size)
        try:
            request.guide.restrict(scores)
        except Exception as error:  # noqa: BLE001 - whatever a guide raises ends its request
            self._fail(request, error)
            return False
        return True

    def _accept(self, request: Request, token: int) -> None:
        try:
            if request.guide is not None:
                request.guide.accept(token)
                request.accepted = True
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(request, error)

    def _fail(self, request: Request, cause: Exception) -> None:
        error = GuideFailed(f"the guide failed with {type(cause).__name__}")
        logger.warning("a request ends: %s", error, exc_info=cause)
        request.cancel()
        del self._requests[request.id]
        self._emit(request, Failed(error))


# An engine's own steps count from 0 upwards; these are told apart from them and from each other.


def _look_step(number: int) -> int:
    return -2 * number - 1


def _call_step(number: int) -> int:
    return -2 * number - 2


def _in_order(end: Finish | Failed) -> Finish | Failed:
    """Return the end of a cancelled request, which may have ended by itself meanwhile."""
    return replace(end, reason="cancelled") if isinstance(end, Finish) else end
