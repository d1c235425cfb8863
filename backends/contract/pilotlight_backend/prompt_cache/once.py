"""A call that is made once: with a value, or without when that does not come in time."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Calls a function once: with a value, or with None when that does not come in time."""

    def __init__(
        self,
        function: Callable[[T | None], None],
        patience: float,
        expired: Callable[[], None],
    ) -> None:
        """*expired* is called before the function where the value does not come in time."""
        self._function = function
        self._expired = expired
        self._lock = threading.Lock()
        self._called = False
        self._timer = threading.Timer(patience, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def __call__(self, value: T | None) -> bool:
        """Call the function with *value*; False: the time was over."""
        if not self._is_first():
            return False
        self._timer.cancel()
        self._function(value)
        return True

    def _expire(self) -> None:
        if self._is_first():
            self._expired()
            self._function(None)

    def _is_first(self) -> bool:
        with self._lock:
            was_called, self._called = self._called, True
        return not was_called
