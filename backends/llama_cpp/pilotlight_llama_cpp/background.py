"""Run work on a thread of its own, and have its outcome as a future.

Unlike those of an executor the thread is a daemon, which the end of the process does not wait for,
and it ends with its work.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


def in_background(work: Callable[[], T], name: str) -> Future[T]:
    """Run *work* on a thread called *name*; the future has what it returns or raises."""
    outcome: Future[T] = Future()
    threading.Thread(target=settle, args=(outcome, work), name=name, daemon=True).start()
    return outcome


def settle(future: Future[Any], call: Callable[[], Any]) -> None:
    """Call *call*, and set what it returns or raises in *future*."""
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - raised by `Future.result`
        future.set_exception(error)
    else:
        future.set_result(result)
