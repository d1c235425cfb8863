"""Native memory that several threads use, freed behind the last of them."""

import threading

from pilotlight_backend import EngineClosed


class InUse:
    """Counts the calls under way; each is made `with` this. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls = 0
        self._is_closed = False

    def __enter__(self) -> None:
        """Begin a call; raises `EngineClosed` after `close`."""
        with self._changed:
            if self._is_closed:
                raise EngineClosed("the engine is closed")
            self._calls += 1

    def __exit__(self, *_: object) -> None:
        """End it."""
        with self._changed:
            self._calls -= 1
            self._changed.notify_all()

    def close(self) -> bool:
        """Refuse later calls, and wait for those under way; return False the second time."""
        with self._changed:
            was_closed, self._is_closed = self._is_closed, True
            self._changed.wait_for(lambda: not self._calls)
        return not was_closed
