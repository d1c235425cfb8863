"""Calls that other threads have an engine's thread make between two steps.

For what touches the model or the context, which that thread alone may do.
"""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from pilotlight_backend import EngineClosed

T = TypeVar("T")

_LIVELINESS = 1.0
"""Seconds between two looks at whether the engine's thread has ended."""


class BetweenSteps:
    """Calls in the order they came."""

    def __init__(self, wake: Callable[[], None], is_dead: Callable[[], bool]) -> None:
        """*wake* makes the engine's thread look for work."""
        self._wake = wake
        self._is_dead = is_dead
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()

    def call(self, function: Callable[[], T]) -> T:
        """Have the engine's thread call *function*; return or raise what that does. Blocks.

        Any thread but the engine's. Raises `EngineClosed` if it has ended.
        """
        done: Future[T] = Future()
        self._calls.put((function, done))
        self._wake()
        while True:
            try:
                return done.result(_LIVELINESS)
            except NotYet:
                if self._is_dead() and not done.done():
                    raise EngineClosed("the engine is closed") from None

    # ── on the engine's thread ─────────────────────────────────────────────────────────────────

    @property
    def is_empty(self) -> bool:
        """Whether no call waits."""
        return self._calls.empty()

    def run(self) -> None:
        """Make the calls that wait."""
        for function, done in self._waiting():
            try:
                done.set_result(function())
            except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
                done.set_exception(error)

    def close(self) -> None:
        """Fail the calls that wait."""
        for _, done in self._waiting():
            done.set_exception(EngineClosed("the engine is closed"))

    def _waiting(self) -> list[tuple[Callable[[], Any], "Future[Any]"]]:
        waiting = []
        while True:
            try:
                waiting.append(self._calls.get_nowait())
            except Empty:
                return waiting
