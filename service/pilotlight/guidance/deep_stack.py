"""A call on a thread whose stack is deep enough for what a caller may nest.

llguidance follows references and rules by recursion: 1,600 types in `$defs` that lead to each other
in a row, or 8,000 rules of Lark, ran over the 8 MB that a thread has, which ends the process. With
the limits on a grammar's length, less than half of this is ever used, and none that is not used is
taken from the system. What comes after compiling does not recurse.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

STACK_BYTES = 128 * 1024 * 1024

T = TypeVar("T")

_starting = threading.Lock()
"""The size of the next thread's stack is the process's, not a thread's."""


def on_deep_stack(call: Callable[[], T]) -> T:
    """Return what *call* returns or raise what it raises; blocks."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # noqa: BLE001 - passed on, whatever it is
            result.set_exception(error)

    thread = threading.Thread(target=run, name="grammar", daemon=True)
    with _starting:
        before = threading.stack_size(STACK_BYTES)
        try:
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    return result.result()
