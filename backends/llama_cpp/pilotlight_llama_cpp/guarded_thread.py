"""Turn an `abort()` of llama.cpp during a load into an exception.

Over a thousand assertions in llama.cpp check a model's properties, most of them while a context is
made. A failed one calls `ggml_abort`, which ends the process with the streams of all models. ggml
first calls a callback (`ggml_set_abort_callback`). The process ends when that returns, so it never
does: a load runs on a thread of its own, which waits forever after an abort. What it had allocated
stays allocated; everything else continues.
"""

import ctypes
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from pilotlight_llama_cpp.background import in_background, settle

logger = logging.getLogger("pilotlight.llama_cpp")

T = TypeVar("T")


_ENDS_WITHIN = 1.0
"""Seconds in which work that is given up may end. llama.cpp maps files with MAP_POPULATE
(llama-mmap.cpp): that call returns when the kernel has read the whole file, which takes minutes
from a slow disk, and only then is there an order to refuse."""


class Aborted(Exception):
    """llama.cpp aborted. The message is its own, with the file name instead of the build path."""


class _Order(NamedTuple):
    """A call that the thread wants made on its caller's."""

    done: Future[None]
    call: Callable[[], None]


class GuardedThread(Generic[T]):
    """A thread in which llama.cpp may abort; it can call back on the thread that waits for it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._orders: SimpleQueue[_Order | None] = SimpleQueue()
        """None once there is an outcome."""
        self._outcome: Future[T] = Future()

    def run(self, work: Callable[[], T], *, beside: Callable[[], None] = lambda: None) -> T:
        """Run *work* and return or raise what it does; raises `Aborted` if llama.cpp aborts.

        *beside* is called on this thread meanwhile: calls that *work* orders are made when it has
        returned. What it raises ends *work* at its next order, and is raised here, also if *work*
        has not ended `_ENDS_WITHIN` seconds later.
        """
        # A daemon, so that the process can end while it waits after an abort.
        threading.Thread(
            target=self._work, args=(work,), name=f"load {self._name}", daemon=True
        ).start()
        self._outcome.add_done_callback(lambda _: self._orders.put(None))
        try:
            beside()
        except BaseException as error:
            refusing = partial(self._refuse_orders, error)
            wait([in_background(refusing, f"end {self._name}")], _ENDS_WITHIN)
            raise
        while (order := self._orders.get()) is not None:
            settle(order.done, order.call)
        return self._outcome.result()

    def raise_failure(self) -> None:
        """Raise what the work has raised, if it has: nothing beside it is of use any more."""
        if self._outcome.done() and (failure := self._outcome.exception()):
            raise failure

    def on_callers_thread(self, call: Callable[[], None]) -> None:
        """Call *call* on the thread that called `run`, and raise what it raises."""
        done: Future[None] = Future()
        self._orders.put(_Order(done, call))
        done.result()

    def _refuse_orders(self, error: BaseException) -> None:
        """Raise *error* from every order until the work has ended."""
        while (order := self._orders.get()) is not None:
            order.done.set_exception(error)

    def _work(self, work: Callable[[], T]) -> None:
        _guarded.abort = self._aborted
        settle(self._outcome, work)

    def _aborted(self, message: str) -> None:
        self._outcome.set_exception(Aborted(message))
        threading.Event().wait()


class _Guarded(threading.local):
    """What this thread does if llama.cpp aborts on it."""

    abort: Callable[[str], None] | None = None


_guarded = _Guarded()


def _receive(message: bytes | None) -> None:
    """Receive the message of an abort; the process ends when this returns."""
    text = (message or b"").decode("utf-8", "replace").strip()
    location, colon, reason = text.partition(": ")
    text = f"{Path(location).name}{colon}{reason}"
    if _guarded.abort is not None:
        logger.error("llama.cpp aborted a load: %s", text)
        _guarded.abort(text)
    with suppress(OSError):
        os.write(2, f"llama.cpp aborts the process: {text}\n".encode())


# ggml keeps the bare pointer, so this must live as long as the process.
_callback = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(_receive)


def install(library: ctypes.CDLL) -> None:
    """Register the callback with ggml; older builds have no such function."""
    with suppress(AttributeError):
        library.ggml_set_abort_callback(_callback)
