"""The guides of an engine's process: each stands for one that runs in the service."""

import queue
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from pilotlight_backend import Forced
from pilotlight_isolation import wire
from pilotlight_isolation.row import Row
from pilotlight_isolation.sender import Sender

if TYPE_CHECKING:
    from pilotlight_backend.logits import Logits


class GuideCalls:
    """Calls guides in the service; one of the engine's threads at a time."""

    def __init__(self, sender: Sender, row: Row) -> None:
        self._replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        """What a guide returned, or None if it failed."""
        self._sender = sender
        self._row = row
        self._lock = threading.Lock()

    def reply(self, message: wire.Restricted | wire.MustCome | wire.Admitted) -> None:
        """Pass on what a guide returned; any thread."""
        match message:
            case wire.Restricted():
                self._replies.put(message.done or None)
            case wire.MustCome():
                self._replies.put(message.forced)
            case wire.Admitted():
                self._replies.put(message.count)

    def restrict(self, request: int, logits: "Logits") -> None:
        """Have the service restrict *logits*, in place."""
        with self._lock:
            row = self._row.logits(logits.size)
            row[:] = logits
            self._call(wire.Restrict(request, logits.size))
            logits[:] = row

    def forced(self, request: int) -> Forced:
        """Have the guide return what it forces."""
        with self._lock:
            return cast("Forced", self._call(wire.AskForced(request)))

    def admitted(self, request: int, tokens: tuple[int, ...]) -> int:
        """Have the guide return how many of *tokens* it admits."""
        with self._lock:
            return cast("int", self._call(wire.AskAdmitted(request, tokens)))

    def _call(self, message: wire.Restrict | wire.AskForced | wire.AskAdmitted) -> Any:
        self._sender.send_now(message)
        reply = self._replies.get()
        if reply is None:
            raise RemoteGuideFailed("the guide failed in the service; see its log")
        return reply

    def accepted(self, request: int, token: int) -> None:
        """Have the guide accept *token*; an exception there ends the request in the service."""
        self._sender.emit(request, wire.Accepted(token))


class RemoteGuideFailed(Exception):
    """A guide failed in the service, or its request has ended there."""


class RemoteGuide:
    """Stands for a request's guide, which runs in the service."""

    def __init__(self, request: int, guides: GuideCalls) -> None:
        self._request = request
        self._guides = guides

    def restrict(self, logits: "Logits") -> None:
        """Restrict *logits*; see `Guide`."""
        self._guides.restrict(self._request, logits)

    def accept(self, token: int) -> None:
        """Accept *token*; see `Guide`."""
        self._guides.accepted(self._request, token)


class RemoteForcingGuide(RemoteGuide):
    """Stands for a guide that knows what must come."""

    def forced(self) -> Forced:
        """Return what must come next; see `ForcingGuide`."""
        return self._guides.forced(self._request)

    def admits(self, tokens: Sequence[int]) -> int:
        """Return how many of *tokens* may come next; see `ForcingGuide`."""
        return self._guides.admitted(self._request, tuple(tokens))
