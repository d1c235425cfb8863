"""Run blocking calls to one engine on a few threads of its own.

Not on asyncio's default executor: an engine that hangs would block all of its threads, and delay
the prompts and loads of other models.
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
"""An engine in a process of its own serves as many calls at a time."""


class _Call:
    """A call that waits for a thread or runs."""

    def __init__(self, function: Callable[[], Any], tokens: int) -> None:
        self._function = function
        self._context = contextvars.copy_context()
        self.tokens = tokens
        self.loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Any] = self.loop.create_future()

    def run(self) -> None:
        """Run on a thread, and set the result of the future on the loop."""
        try:
            result = self._context.run(self._function)
        except BaseException as error:  # noqa: BLE001 - it is raised where the call is awaited
            settle = partial(_settle, self.done.set_exception, error)
        else:
            settle = partial(_settle, self.done.set_result, result)
        with suppress(RuntimeError):  # the loop is closed, and nothing awaits the call
            self.loop.call_soon_threadsafe(settle, self.done)


def _settle(how: Callable[[Any], None], value: object, done: asyncio.Future[Any]) -> None:
    if not done.done():  # cancelled, or the engine has failed
        how(value)


class EngineCalls:
    """Runs calls in order, a few at a time. Used on one loop.

    A thread ends when no call waits, so an idle engine has none, and there is nothing to close. The
    threads are daemons: a hang does not keep the process from exiting.
    """

    def __init__(self, name: str = "engine") -> None:
        """*name* is part of the names of the threads."""
        self._name = name
        self._lock = threading.Lock()
        """Guards the fields below: the threads take calls themselves."""
        self._waiting: deque[_Call] = deque()
        self._under_way: dict[int, _Call] = {}
        self._threads = 0
        self._number = 0
        self._failed: BackendError | None = None

    @property
    def under_way(self) -> tuple[Step, ...]:
        """The running calls, as steps with negative numbers."""
        with self._lock:
            return tuple(Step(-number, call.tokens) for number, call in self._under_way.items())

    async def run(self, function: Callable[[], T], tokens: int = 0) -> T:
        """Run *function* on a thread, and return its result.

        *tokens* is how many it processes. Raises the error of an engine that has failed.
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
            with self._lock, suppress(ValueError):  # it runs already
                self._waiting.remove(call)
        return result

    def fail(self, error: BackendError) -> None:
        """Raise *error* in every call, now and later: the engine hangs or has died.

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
        except BaseException:  # the system has no more threads
            with self._lock:
                self._threads -= 1
            raise

    def _work(self) -> None:
        number = 0
        while (call := self._next(number)) is not None:
            number, one = call
            one.run()

    def _next(self, ended: int) -> tuple[int, _Call] | None:
        """Remove the call *ended*; return the next one with its number; None ends the thread."""
        with self._lock:
            self._under_way.pop(ended, None)
            if not self._waiting:
                self._threads -= 1
                return None
            self._number += 1
            self._under_way[self._number] = call = self._waiting.popleft()
            return self._number, call


def _anew(error: BackendError) -> BackendError:
    """Return a copy of *error*: an exception that is raised again keeps all its tracebacks."""
    return type(error)(str(error))
