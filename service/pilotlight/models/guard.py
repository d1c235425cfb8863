"""Looks at the engines that are at work, and says which of them hangs."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pilotlight.models.catalog import ModelEntry
from pilotlight.models.step_watch import StepWatch

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
