"""llama.cpp's `abort()`, made an error of the load that it happens in.

Over a thousand assertions in llama.cpp check a model's properties, most of them while a context is
made. One that fails calls `ggml_abort`, which ends the process, other models' streams included.
ggml calls a function of ours first (`ggml_set_abort_callback`); it cannot return without the
process ending, but it can stay. So a load runs on a thread of its own, which waits for ever where
llama.cpp gives up: what it had made stays in memory, and everything else goes on.
"""

import ctypes
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

logger = logging.getLogger("pilotlight.llama_cpp")

T = TypeVar("T")


class Aborted(Exception):
    """llama.cpp gave up; the message is its own, without the folders that it was built in."""


class GuardedThread(Generic[T]):
    """Runs *work* on a thread that llama.cpp may abort in, and what it asks for on the caller's."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._orders: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._outcome: Future[T] = Future()

    def run(self, work: Callable[[], T]) -> T:
        """Return what *work* does, or raise it; raises `Aborted` where llama.cpp gave up."""
        # A daemon: where it waits for ever, the process can still end.
        threading.Thread(
            target=self._work, args=(work,), name=f"load {self._name}", daemon=True
        ).start()
        self._outcome.add_done_callback(lambda _: self._orders.put(lambda: None))
        while not self._outcome.done():
            self._orders.get()()
        return self._outcome.result()

    def on_callers_thread(self, call: Callable[[], None]) -> None:
        """Call *call* on the thread that `run` was called on, and raise what it raises."""
        done: Future[None] = Future()
        self._orders.put(lambda: _settle(done, call))
        done.result()

    def _work(self, work: Callable[[], T]) -> None:
        _guarded.abort = self._aborted
        _settle(self._outcome, work)

    def _aborted(self, message: str) -> None:
        self._outcome.set_exception(Aborted(message))
        threading.Event().wait()


def _settle(future: "Future[Any]", call: Callable[[], Any]) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - raised where the future is asked
        future.set_exception(error)
    else:
        future.set_result(result)


class _Guarded(threading.local):
    """What happens when llama.cpp gives up on this thread."""

    abort: Callable[[str], None] | None = None


_guarded = _Guarded()


def _receive(message: bytes | None) -> None:
    """Take llama.cpp's last words; where this returns, the process ends."""
    text = (message or b"").decode("utf-8", "replace").strip()
    place, colon, reason = text.partition(": ")
    text = f"{Path(place).name}{colon}{reason}"
    if _guarded.abort is not None:
        logger.error("llama.cpp aborted a load: %s", text)
        _guarded.abort(text)
    with suppress(OSError):
        os.write(2, f"llama.cpp aborts the process: {text}\n".encode())


# Kept for the life of the process: ggml holds the bare pointer.
_callback = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(_receive)


def install(library: ctypes.CDLL) -> None:
    """Have ggml tell us before it ends the process; older builds have no such function."""
    with suppress(AttributeError):
        library.ggml_set_abort_callback(_callback)
