"""What is done about an engine that hangs or has died: nobody waits for it any more."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pilotlight_backend import BackendError, BaseEngine, RemoteEngine

Listener = Callable[[BackendError], None]


class EngineFailure:
    """Tells who waits for an engine's answers that none will come. For the event loop."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def tell(self, listener: Listener) -> None:
        """Have *listener* told, for as long as the model is loaded."""
        self._listeners.append(listener)

    @contextmanager
    def told(self, listener: Listener) -> Iterator[None]:
        """Have *listener* told while the context lasts."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def happen(self, error: BackendError) -> None:
        """Tell everyone that the engine has failed."""
        for listener in list(self._listeners):
            listener(error)


def kill(engine: BaseEngine, reason: str) -> bool:
    """End a hanging *engine*, and tell whether that can be done: a thread cannot be killed."""
    if not isinstance(engine, RemoteEngine):
        return False
    engine.kill(reason)
    return True


def close_some_day(engine: BaseEngine, closed: Callable[[], None]) -> None:
    """Close an *engine* whose thread hangs, should it ever go on; *closed* is called then.

    On a thread that nobody waits for, at the process's end neither.
    """

    def close() -> None:
        engine.close()
        closed()

    threading.Thread(target=close, name="close some day", daemon=True).start()
