"""What an engine's process says. A step's events go together; nobody gets far ahead."""

import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from pilotlight_backend.types import Failed, Finish, Token
from pilotlight_isolation import wire
from pilotlight_isolation.channel import framed

Told: TypeAlias = tuple[int, wire.Event]

_AHEAD = 16
"""Parts of an answer that the engine may be ahead of who listens: a listener that is slow holds its
engine up, as it does in one process."""


class Telling:
    """Sends words and events in their order, on a thread of its own."""

    def __init__(self, connection: socket.socket, snapshot: Callable[[], wire.Snapshot]) -> None:
        """*snapshot* is asked behind each step's events."""
        self._connection = connection
        self._snapshot = snapshot
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._waiting: list[wire.Word | Told] = []
        self._told = self._heard = 0
        self._ahead: dict[int, deque[int]] = {}
        """Of each request, the numbers of its latest parts."""
        self._over = False
        self._thread = threading.Thread(target=self._run, name="telling", daemon=True)
        self._thread.start()

    def say(self, word: wire.Word) -> None:
        """Say *word*; never waits."""
        with self._changed:
            self._waiting.append(word)
            self._changed.notify_all()

    def ask(self, word: wire.Word) -> None:
        """Say *word* at once, on the calling thread, which waits for an answer: a hop less."""
        with self._changed:
            self._waiting.append(word)
        self._send()

    def tell(self, request: int, event: wire.Event) -> None:
        """Tell what happened to a request; a part of an answer waits while it is too far ahead.

        Nothing else waits: engines tell beginnings and ends with a lock held.
        """
        with self._changed:
            if isinstance(event, Token | wire.Vector):
                self._wait_for_listener(request)
            elif isinstance(event, Finish | Failed):
                self._ahead.pop(request, None)
            self._told += 1
            self._waiting.append((request, event))
            self._changed.notify_all()

    def _wait_for_listener(self, request: int) -> None:
        latest = self._ahead.setdefault(request, deque(maxlen=_AHEAD))
        if len(latest) == _AHEAD:
            self._changed.wait_for(lambda: latest[0] <= self._heard)
        latest.append(self._told + 1)

    def heard(self, count: int) -> None:
        """Note that *count* more events were passed on."""
        with self._changed:
            self._heard += count
            self._changed.notify_all()

    def finish(self) -> None:
        """Send what waits, and return when it is sent."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while self._await_something():
            self._send()

    def _await_something(self) -> bool:
        """Wait for something to send; false once there is nothing more to come."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._over)
            return bool(self._waiting)

    def _send(self) -> None:
        """Send what waits, in its order, whoever sends."""
        with self._sending:
            with self._changed:
                waiting, self._waiting = self._waiting, []
            words = self._words(waiting)
            self._connection.sendall(b"".join(framed(wire.encode(word)) for word in words))

    def _words(self, waiting: Sequence[wire.Word | Told]) -> list[wire.Word]:
        """Put the events that follow each other together."""
        words: list[wire.Word] = []
        events: list[Told] = []
        for one in waiting:
            if isinstance(one, tuple):
                events.append(one)
                continue
            if events:
                words.append(wire.Events(events, self._snapshot()))
                events = []
            words.append(one)
        if events:
            words.append(wire.Events(events, self._snapshot()))
        return words
