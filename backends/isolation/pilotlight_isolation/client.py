"""The service's side of an engine's process: pending requests and calls, and a receiving thread."""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from msgspec.structs import replace

from pilotlight_backend.errors import BackendError, EngineClosed, GuideFailed, InferenceFailed
from pilotlight_backend.guide import Forced, ForcingGuide, Guide
from pilotlight_backend.image import Image
from pilotlight_backend.types import EngineStats, Failed, Finish, Step
from pilotlight_isolation import wire
from pilotlight_isolation.problem import rebuild
from pilotlight_isolation.process import EngineProcess
from pilotlight_isolation.sent_images import SentImages

logger = logging.getLogger("pilotlight.isolation")

_ACKNOWLEDGE_AFTER = 8
"""Delivered events that are acknowledged together; fewer than `sender._AHEAD`."""
_CLOSE_SECONDS = 1.0
"""How long an engine may take to close before its process is killed, which frees its memory too."""


class PendingRequest:
    """A request that has not ended; also its ticket."""

    __slots__ = ("_cancel", "accepted", "cancelled", "emit", "guide", "id", "images")

    def __init__(
        self,
        cancel: Callable[["PendingRequest"], None],
        number: int,
        emit: Callable[[Any], None],
        guide: Guide | None,
        images: Sequence[Image],
    ) -> None:
        self._cancel = cancel
        self.images = [image.digest for image in images]
        """Digests of its images: the pixels are not kept here."""
        self.id = number
        self.emit = emit
        self.guide = guide
        self.accepted = False
        """Whether the guide has accepted a token that was not delivered yet."""
        self.cancelled = False

    def cancel(self) -> None:
        """End the request at the engine's next step; any thread."""
        self._cancel(self)


class EngineClient:
    """Requests and calls to one engine's process. Any thread may call any method."""

    def __init__(self, process: EngineProcess, name: str, snapshot: wire.Snapshot) -> None:
        """Receive from *process*, whose engine is loaded; *name* is the model's."""
        self._process = process
        self._name = name
        self._snapshot = snapshot
        self._lock = threading.Lock()
        """Guards the fields below; never held while something is sent or emitted."""
        self._images = SentImages(process.send)
        self._requests: dict[int, PendingRequest] = {}
        self._calls: dict[int, Future[Any]] = {}
        self._call_steps: dict[int, Step] = {}
        """The pending calls as steps: the watchdog finds one that hangs as it finds a step."""
        self._number = 0
        self._submitted = 0
        self._stats_asked = self._stats_received = 0
        self._delivered = 0
        self._closing = False
        self._killed: str | None = None
        """Why the process was killed."""
        self._ended: BackendError | None = None
        """The error of later requests, once the process has ended."""
        # A daemon: a process that forgot to close the engine can still end.
        self._thread = threading.Thread(target=self._receive, name=f"isolated {name}", daemon=True)
        self._thread.start()

    # ── requests ───────────────────────────────────────────────────────────────────────────────

    def submit(
        self,
        message: Callable[[int], wire.Submit | wire.Embed | wire.Rank],
        emit: Callable[[Any], None],
        guide: Guide | None = None,
        images: Sequence[Image] = (),
    ) -> PendingRequest:
        """Send the request that *message* builds from its id. Raises `EngineClosed`.

        *images* are those of its prompt, each once.
        """
        with self._lock:
            self._check_open()
            self._number += 1
            request = PendingRequest(self._cancel, self._number, emit, guide, images)
            self._requests[request.id] = request
            self._submitted += 1
        try:
            self._send_request(message(request.id), images)
        except BaseException:  # there may be no memory for it
            with self._lock:
                self._requests.pop(request.id, None)
                self._submitted -= 1
            raise
        return request

    def _send_request(self, message: wire.ToChild, images: Sequence[Image]) -> None:
        if images:
            self._images.send(message, images)
        else:
            self._process.send(message)

    def _forget(self, request: PendingRequest) -> None:
        """Take out *request*, which has ended."""
        del self._requests[request.id]
        if request.images:
            self._images.release(request.images)

    def _cancel(self, request: PendingRequest) -> None:
        if request.id in self._requests:
            request.cancelled = True
            self._process.send(wire.Cancel(request.id))

    def call(self, message: Callable[[int], wire.Call], tokens: int = 0) -> Any:
        """Send the call that *message* builds from its id; wait, and return or raise its outcome.

        *tokens* is how many tokens it processes: the more, the longer it may take.
        """
        outcome: Future[Any] = Future()
        with self._lock:
            self._check_open()
            self._number += 1
            number = self._number
            self._calls[number] = outcome
            self._call_steps[number] = Step(_call_step(number), tokens)
        try:
            self._process.send(message(number))
            return outcome.result()
        finally:
            with self._lock:
                del self._call_steps[number]
                self._calls.pop(number, None)  # one that could not be sent

    def _check_open(self) -> None:
        if self._closing or self._ended is not None:
            raise EngineClosed("the engine is closed")

    def stats(self) -> EngineStats:
        """Return the latest snapshot, and ask the process for a new one.

        A query without a reply counts as a step under way: a process that hangs replies to none,
        whatever it hangs in. So does a pending call, which may hang on a thread of its own.
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
            ask = self._stats_asked == self._stats_received
            self._stats_asked += ask
            asked = self._stats_asked
            queued = snapshot.stats.queued + self._submitted - snapshot.requests
            called = tuple(self._call_steps.values())
        if ask:
            self._process.send(wire.GetStats())
        under_way = (*snapshot.stats.under_way, Step(_stats_step(asked), 0), *called)
        return replace(snapshot.stats, queued=queued, under_way=under_way)

    # ── the end ────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Close the engine and wait for its process's end; the receiving thread does not wait."""
        with self._lock:
            first = not self._closing
            self._closing = True
        if first:
            self._process.send(wire.Close())
        if threading.current_thread() is self._thread:
            return
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            logger.warning("%s: the engine does not close; its process is killed", self._name)
            self._process.kill()
            self._thread.join()

    def kill(self, reason: str) -> None:
        """Kill the process; its requests end with `InferenceFailed(reason)`."""
        with self._lock:
            self._killed = self._killed or reason
        self._process.kill()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    # ── on the receiving thread ────────────────────────────────────────────────────────────────

    def _receive(self) -> None:
        try:
            while (messages := self._process.receive()) is not None:
                for message in messages:
                    self._handle(message)
        except Exception:  # a process with corrupted memory may send anything
            logger.exception("%s: invalid message from the process, which is killed", self._name)
            self._process.kill()
        self._end(self._process.reap())

    def _end(self, how: str) -> None:
        """Fail pending requests and calls; *how* is how the process ended."""
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

    def _handle(self, message: wire.FromChild) -> None:
        match message:
            case wire.Events():
                self._snapshot = message.snapshot
                for number, event in message.events:
                    self._deliver(number, event)
                self._acknowledge(len(message.events))
            case wire.Restrict():
                self._process.send(wire.Restricted(self._restrict(message)))
            case wire.AskForced():
                self._process.send(wire.MustCome(self._forced(message)))
            case wire.AskAdmitted():
                self._process.send(wire.Admitted(self._admitted(message)))
            case wire.Returned() | wire.Paired():
                self._calls.pop(message.id).set_result(message.value)
            case wire.Raised():
                self._calls.pop(message.id).set_exception(rebuild(message.problem))
            case wire.Stats():
                self._snapshot = message.snapshot
                self._stats_received += 1

    def _acknowledge(self, events: int) -> None:
        self._delivered += events
        if self._delivered >= _ACKNOWLEDGE_AFTER:
            self._process.send(wire.Delivered(self._delivered))
            self._delivered = 0

    def _deliver(self, number: int, event: wire.Event) -> None:
        request = self._requests.get(number)
        if request is None:
            return  # its guide has failed; the engine had sampled further meanwhile
        if request.cancelled and not request.accepted and not isinstance(event, Finish | Failed):
            return  # sent before the cancel arrived there; here the request ends at this step
        match event:
            case wire.Accepted():
                self._accept(request, event.token)
                return
            case wire.Vector():
                self._emit(request, event.embedded())
            case Finish() | Failed():
                self._forget(request)
                self._emit(request, _cancelled(event) if request.cancelled else event)
            case _:
                self._emit(request, event)
        request.accepted = False

    def _emit(self, request: PendingRequest, event: object) -> None:
        try:
            request.emit(event)
        except Exception:
            # The listener is broken; other requests are not affected.
            logger.exception("a listener failed; its request is cancelled")
            request.cancel()

    # ── guides ─────────────────────────────────────────────────────────────────────────────────

    def _restrict(self, message: wire.Restrict) -> bool:
        request = self._requests.get(message.id)
        if request is None or request.guide is None:
            return False
        logits = self._process.row.logits(message.size)
        try:
            request.guide.restrict(logits)
        except Exception as error:  # noqa: BLE001 - ends the request, whatever a guide raises
            self._fail(request, error)
            return False
        return True

    def _forced(self, message: wire.AskForced) -> Forced | None:
        request = self._requests.get(message.id)
        if request is None or not isinstance(request.guide, ForcingGuide):
            return None
        try:
            return request.guide.forced()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(request, error)
            return None

    def _admitted(self, message: wire.AskAdmitted) -> int | None:
        request = self._requests.get(message.id)
        if request is None or not isinstance(request.guide, ForcingGuide):
            return None
        try:
            return request.guide.admits(message.tokens)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(request, error)
            return None

    def _accept(self, request: PendingRequest, token: int) -> None:
        try:
            if request.guide is not None:
                request.guide.accept(token)
                request.accepted = True
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(request, error)

    def _fail(self, request: PendingRequest, cause: Exception) -> None:
        error = GuideFailed(f"the guide failed with {type(cause).__name__}")
        logger.warning("a request failed: %s", error, exc_info=cause)
        request.cancel()
        self._forget(request)
        self._emit(request, Failed(error))


# An engine's own steps count from 0 upwards: statistics queries and calls count down from -1.


def _stats_step(number: int) -> int:
    return -2 * number - 1


def _call_step(number: int) -> int:
    return -2 * number - 2


def _cancelled(end: Finish | Failed) -> Finish | Failed:
    """Return the last event of a cancelled request, which may have ended by itself meanwhile."""
    return replace(end, reason="cancelled") if isinstance(end, Finish) else end
