"""Sends the child's messages. A step's events share one frame; no request gets far ahead."""

import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from pilotlight_backend.types import Failed, Finish, Scored, Token
from pilotlight_isolation import wire
from pilotlight_isolation.channel import encode_frame

RequestEvent: TypeAlias = tuple[int, wire.Event]
"""A request's id, and what happened to it."""

_AHEAD = 16
"""Tokens, vectors or scores of a request that may be sent and not delivered: a slow listener holds
the engine back, as it does in one process."""


class Sender:
    """Sends messages and events in order, on a thread of its own."""

    def __init__(self, connection: socket.socket, snapshot: Callable[[], wire.Snapshot]) -> None:
        """*snapshot* is called after each step's events."""
        self._connection = connection
        self._snapshot = snapshot
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._queue: list[wire.FromChild | RequestEvent] = []
        self._emitted = self._delivered = 0
        self._ahead: dict[int, deque[int]] = {}
        """For each request, the numbers of its latest tokens, vectors or scores."""
        self._finished = False
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._thread.start()

    def send(self, message: wire.FromChild) -> None:
        """Queue *message*; never waits."""
        with self._changed:
            self._queue.append(message)
            self._changed.notify_all()

    def send_now(self, message: wire.FromChild) -> None:
        """Send *message* on the calling thread, which saves a switch: it waits for the reply."""
        with self._changed:
            self._queue.append(message)
        self._send()

    def emit(self, request: int, event: wire.Event) -> None:
        """Queue a request's event; a token, vector or score waits if its request is too far ahead.

        No other event waits: engines emit the first and the last one with a lock held.
        """
        with self._changed:
            if isinstance(event, Token | wire.Vector | Scored):
                self._wait_for_listener(request)
            elif isinstance(event, Finish | Failed):
                self._ahead.pop(request, None)
            self._emitted += 1
            self._queue.append((request, event))
            self._changed.notify_all()

    def _wait_for_listener(self, request: int) -> None:
        latest = self._ahead.setdefault(request, deque(maxlen=_AHEAD))
        if len(latest) == _AHEAD:
            self._changed.wait_for(lambda: latest[0] <= self._delivered)
        latest.append(self._emitted + 1)

    def delivered(self, count: int) -> None:
        """Note that the service has delivered *count* more events."""
        with self._changed:
            self._delivered += count
            self._changed.notify_all()

    def finish(self) -> None:
        """Send what is queued, and return once it is sent."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while self._wait_for_messages():
            self._send()

    def _wait_for_messages(self) -> bool:
        """Wait for something to send; return false once there is nothing left to come."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._finished)
            return bool(self._queue)

    def _send(self) -> None:
        """Send what is queued. Two threads may send, and `_sending` keeps the order."""
        with self._sending:
            with self._changed:
                queued, self._queue = self._queue, []
            messages = self._messages(queued)
            self._connection.sendall(b"".join(encode_frame(wire.encode(one)) for one in messages))

    def _messages(self, queued: Sequence[wire.FromChild | RequestEvent]) -> list[wire.FromChild]:
        """Put consecutive events into one message."""
        messages: list[wire.FromChild] = []
        events: list[RequestEvent] = []
        for one in queued:
            if isinstance(one, tuple):
                events.append(one)
                continue
            if events:
                messages.append(wire.Events(events, self._snapshot()))
                events = []
            messages.append(one)
        if events:
            messages.append(wire.Events(events, self._snapshot()))
        return messages
