"""Runs a call on a thread with a deep stack, for grammars that nest.

llguidance follows references and rules by recursion: a chain of 1,600 types in `$defs`, or of 8,000
rules of Lark, overflowed the 8 MB of a thread, which ends the process. With the limits on a
grammar's length less than half of `STACK_BYTES` is ever used, and the system commits only what is
used. Nothing recurses after compiling.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

STACK_BYTES = 128 * 1024 * 1024

T = TypeVar("T")

_starting = threading.Lock()
"""`threading.stack_size` is a setting of the process, so two threads must not set it at once."""


def on_deep_stack(call: Callable[[], T]) -> T:
    """Return what *call* returns, or raise what it raises. Blocks."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # noqa: BLE001 - re-raised in the caller
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
