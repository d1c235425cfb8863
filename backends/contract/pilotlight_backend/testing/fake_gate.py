"""How a test holds a fake's loads and steps, and lets them go: by events, never by a clock."""

from collections.abc import Callable
from threading import Condition


class Gate:
    """Open at first. Held, it lets through what a test releases, one by one or all.

    Gates and the engines behind them share *changed*, so that an engine at a gate also wakes up for
    a cancelled ticket.
    """

    def __init__(self, changed: Condition) -> None:
        self._changed = changed
        self._open = True
        self._permits = 0
        self._waiting = 0

    def hold(self) -> None:
        """Let nothing through from now on."""
        with self._changed:
            self._open = False
            self._permits = 0

    def release(self, count: int | None = None) -> None:
        """Let *count* more through, or open the gate."""
        with self._changed:
            if count is None:
                self._open = True
            else:
                self._permits += count
            self._changed.notify_all()

    def wait_reached(self, timeout: float = 10.0) -> bool:
        """Wait until something stands before the held gate; false after *timeout* seconds."""
        with self._changed:
            return self._changed.wait_for(self._is_reached, timeout)

    def wait(self, unless: Callable[[], bool] = lambda: False) -> bool:
        """Pass the gate, or return false as soon as *unless* is true. The fake's side calls it."""
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._open or self._permits > 0 or unless())
            finally:
                self._waiting -= 1
            if unless():
                return False
            if not self._open:
                self._permits -= 1
            return True

    def _is_reached(self) -> bool:
        return not self._open and self._permits == 0 and self._waiting > 0
