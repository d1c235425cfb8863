"""Find engines that hang, and fail the requests of engines that hang or died."""

import asyncio
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pilotlight.models.catalog import ModelEntry
from pilotlight_backend import BackendError, BaseEngine, RemoteEngine, Step

if TYPE_CHECKING:
    from pilotlight.models.loaded import LoadedModel

Listener = Callable[[BackendError], None]

_INTERVAL = 1.0
"""Seconds between two checks, at most."""
_CHECKS = 4
"""Checks within a timeout, at least: a hang is noticed a quarter of the timeout late at most."""

PREFILL_TOKENS = 64
"""Prompt tokens for which a step gets its timeout once more: prefill is slow on a small machine."""


class EngineFailure:
    """Notifies listeners that an engine has failed and sends no more events. Event loop only."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Notify *listener* for as long as the model is loaded."""
        self._listeners.append(listener)

    @contextmanager
    def subscribed(self, listener: Listener) -> Iterator[None]:
        """Notify *listener* while the context lasts."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def notify(self, error: BackendError) -> None:
        """Call every listener with *error*."""
        for listener in list(self._listeners):
            listener(error)


class Watchdog:
    """Checks the engines that have work, from time to time; has no timer while none has."""

    def __init__(
        self,
        *,
        busy: Callable[[], Sequence["LoadedModel"]],
        timeout: Callable[[ModelEntry], float],
        on_hang: Callable[["LoadedModel", float], None],
        clock: Callable[[], float],
    ) -> None:
        """*timeout* is the seconds a step may take, 0 for unlimited; *on_hang* gets it too."""
        self._busy = busy
        self._timeout = timeout
        self._on_hang = on_hang
        self._clock = clock
        self._timers: WeakKeyDictionary[LoadedModel, StepTimer] = WeakKeyDictionary()
        self._timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Schedule a check, if an engine with a timeout has work and none is scheduled."""
        timeouts = [self._timeout(model.entry) for model in self._busy()]
        watched = [timeout for timeout in timeouts if timeout]
        if self._timer is None and watched:
            interval = min(check_interval(timeout) for timeout in watched)
            self._timer = asyncio.get_running_loop().call_later(interval, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.check()
        self.wake()

    def check(self) -> None:
        """Check every engine that has work."""
        for model in self._busy():
            if timeout := self._timeout(model.entry):
                timer = self._timers.get(model)
                if timer is None:
                    timer = self._timers[model] = StepTimer(
                        timeout, interval=check_interval(timeout)
                    )
                if timer.hangs(self._clock(), model.under_way):
                    self._on_hang(model, timeout)

    def close(self) -> None:
        """Cancel the scheduled check."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class StepTimer:
    """Measures the steps of one engine from check to check.

    The time between two checks counts as twice the interval at most: a process that its platform
    froze between requests finds its steps as it left them.
    """

    def __init__(self, timeout: float, *, interval: float) -> None:
        """*timeout* is what a step of one token may take, *interval* is from check to check."""
        self._timeout = timeout
        self._interval = interval
        self._checked: float | None = None
        self._taken: dict[int, float] = {}
        """Seconds that each step has taken so far, by its number."""

    def hangs(self, now: float, under_way: Collection[Step]) -> bool:
        """Return whether one of the steps *under_way* has taken longer than its timeout."""
        passed = 0.0 if self._checked is None else now - self._checked
        passed = min(max(passed, 0.0), 2 * self._interval)
        self._checked = now
        self._taken = {
            step.number: self._taken[step.number] + passed if step.number in self._taken else 0.0
            for step in under_way
        }
        return any(self._taken[step.number] >= self._allowed(step) for step in under_way)

    def _allowed(self, step: Step) -> float:
        return self._timeout * (1 + step.tokens // PREFILL_TOKENS)


def check_interval(timeout: float) -> float:
    """Return the seconds between two checks for a hang of *timeout* seconds."""
    return min(_INTERVAL, timeout / _CHECKS)


def kill(engine: BaseEngine, reason: str) -> bool:
    """Kill the process of a hanging *engine*; return False for a thread, which cannot be killed."""
    if not isinstance(engine, RemoteEngine):
        return False
    engine.kill(reason)
    return True


def close_when_unblocked(engine: BaseEngine, on_closed: Callable[[], None]) -> None:
    """Close an *engine* whose thread hangs, and call *on_closed* if it ever returns.

    The thread is a daemon: it does not keep the process from ending.
    """

    def close() -> None:
        engine.close()
        on_closed()

    threading.Thread(target=close, name="close hanging engine", daemon=True).start()
