"""Find engines that hang, and end the requests of those that hang or died."""

import asyncio
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pilotlight.models.catalog import ModelEntry
from pilotlight_backend import BackendError, BaseEngine, RemoteEngine, Step

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


if TYPE_CHECKING:
    from pilotlight.models.loaded import LoadedModel

_INTERVAL = 1.0
_LOOKS = 4
"""Within a timeout at the least: how late a hang may be noticed is a part of it."""


class Guard:
    """Looks from time to time while anything is at work; sleeps while nothing is."""

    def __init__(
        self,
        *,
        at_work: Callable[[], Sequence["LoadedModel"]],
        timeout: Callable[[ModelEntry], float],
        hangs: Callable[["LoadedModel", float], None],
        clock: Callable[[], float],
    ) -> None:
        """*timeout* is in seconds, 0 for never; *hangs* is told whose step took longer than it."""
        self._at_work = at_work
        self._timeout = timeout
        self._hangs = hangs
        self._clock = clock
        self._watches: WeakKeyDictionary[LoadedModel, StepWatch] = WeakKeyDictionary()
        self._timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Begin to look, for a model is asked; a no-op while it looks."""
        timeouts = [self._timeout(model.entry) for model in self._at_work()]
        watched = [timeout for timeout in timeouts if timeout]
        if self._timer is None and watched:
            interval = min(_INTERVAL, *(timeout / _LOOKS for timeout in watched))
            self._timer = asyncio.get_running_loop().call_later(interval, self._wake_up)

    def _wake_up(self) -> None:
        self._timer = None
        self.look()
        self.wake()

    def look(self) -> None:
        """Look at every engine that is at work."""
        for model in self._at_work():
            if timeout := self._timeout(model.entry):
                watch = self._watches.get(model)
                if watch is None:
                    interval = min(_INTERVAL, timeout / _LOOKS)
                    watch = self._watches[model] = StepWatch(timeout, interval=interval)
                if watch.hangs(self._clock(), model.under_way):
                    self._hangs(model, timeout)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


TOKENS = 64
"""Tokens of prompts for which a step gets its time once more: reading is slow on a small machine,
and no fault."""


class StepWatch:
    """Watches the steps of one engine, from look to look.

    Time in which nobody looked counts as no more than the time between two looks: a process that
    was frozen, as platforms do where nobody asks, finds its steps where they were.
    """

    def __init__(self, timeout: float, *, interval: float) -> None:
        """*timeout* is what a step of one token may take, *interval* is from look to look."""
        self._timeout = timeout
        self._interval = interval
        self._looked: float | None = None
        self._taken: dict[int, float] = {}
        """Seconds that a step was seen to take, by its number."""

    def hangs(self, now: float, under_way: Collection[Step]) -> bool:
        """Take a look, and tell whether one of the steps *under_way* has taken too long."""
        passed = 0.0 if self._looked is None else now - self._looked
        passed = min(max(passed, 0.0), 2 * self._interval)
        self._looked = now
        self._taken = {
            step.number: self._taken[step.number] + passed if step.number in self._taken else 0.0
            for step in under_way
        }
        return any(self._taken[step.number] >= self._allowed(step) for step in under_way)

    def _allowed(self, step: Step) -> float:
        return self._timeout * (1 + step.tokens // TOKENS)
