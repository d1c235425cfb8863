"""Calls of one engine that may block, on a few threads of its own.

Not on asyncio's default executor: an engine that hangs would take every thread of it, and keep the
renders and loads of other models waiting.
"""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from pilotlight_backend import BackendError, Step

T = TypeVar("T")

_THREADS = 4
"""As many as are of use: a process of an engine answers so many calls at a time."""


class _Call:
    """A call that waits for a thread, or is under way."""

    def __init__(self, function: Callable[[], Any], tokens: int) -> None:
        self._function = function
        self._context = contextvars.copy_context()
        self.tokens = tokens
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Any] = self.loop.create_future()

    def run(self) -> None:
        """Run on a thread, and settle the future on the loop."""
        try:
            result = self._context.run(self._function)
        except BaseException as error:  # noqa: BLE001 - it is raised where the call is awaited
            settle = partial(_settle, self.done.set_exception, error)
        else:
            settle = partial(_settle, self.done.set_result, result)
        with suppress(RuntimeError):  # the loop is closed, and with it everyone who waited
            self.loop.call_soon_threadsafe(settle, self.done)


def _settle(how: Callable[[Any], None], value: object, done: asyncio.Future[Any]) -> None:
    if not done.done():  # it was cancelled, or the engine has failed
        how(value)


class EngineCalls:
    """Runs calls in their order, a few at a time. Used on one loop.

    A thread ends when nothing waits, so that an engine at rest has none, and there is nothing to
    close. They are daemons: one that hangs keeps no process from ending.
    """

    def __init__(self, name: str = "engine") -> None:
        """*name* is the threads'."""
        self._name = name
        self._lock = threading.Lock()
        """Guards what follows: the threads take calls themselves."""
        self._waiting: deque[_Call] = deque()
        self._under_way: dict[int, _Call] = {}
        self._threads = 0
        self._number = 0
        self._failed: BackendError | None = None

    @property
    def under_way(self) -> tuple[Step, ...]:
        """The calls that have begun and not ended, as steps with numbers below 0."""
        with self._lock:
            return tuple(Step(-number, call.tokens) for number, call in self._under_way.items())

    async def run(self, function: Callable[[], T], tokens: int = 0) -> T:
        """Return what *function* returns, which runs on a thread; raises what it raises.

        *tokens* is how many it has to do with. Raises the engine's error once that has failed.
        """
        call = _Call(function, tokens)
        with self._lock:
            if self._failed is not None:
                raise _anew(self._failed)
            self._waiting.append(call)
            begin = self._threads < _THREADS
            self._threads += begin
        try:
            if begin:
                self._begin()
            result: T = await call.done
        finally:
            with self._lock, suppress(ValueError):  # it has begun, and cannot be taken back
                self._waiting.remove(call)
        return result

    def fail(self, error: BackendError) -> None:
        """End the wait for every call with *error*, and take no more: the engine will not answer.

        Runs on the loop. The threads end when their calls return.
        """
        with self._lock:
            self._failed = error
            calls = [*self._waiting, *self._under_way.values()]
            self._waiting.clear()
        for call in calls:
            _settle(call.done.set_exception, _anew(error), call.done)

    def _begin(self) -> None:
        try:
            threading.Thread(target=self._work, name=f"{self._name} calls", daemon=True).start()
        except BaseException:  # the system has no thread left
            with self._lock:
                self._threads -= 1
            raise

    def _work(self) -> None:
        number = 0
        while (call := self._next(number)) is not None:
            number, one = call
            one.run()

    def _next(self, ended: int) -> tuple[int, _Call] | None:
        """Note that the call *ended*, and return the next with its number; None ends the thread."""
        with self._lock:
            self._under_way.pop(ended, None)
            if not self._waiting:
                self._threads -= 1
                return None
            self._number += 1
            self._under_way[self._number] = call = self._waiting.popleft()
            return self._number, call


def _anew(error: BackendError) -> BackendError:
    """Return *error* for one more caller: one that is raised again keeps every traceback."""
    return type(error)(str(error))
