"""Unload models that no request uses for a while."""

import asyncio
from collections.abc import Callable, Mapping

from pilotlight.models.catalog import ModelEntry
from pilotlight.models.state import PooledModel


class IdleTimer:
    """Unloads each model `idle_ttl` seconds after its last use. Used on one loop."""

    def __init__(
        self,
        models: Mapping[ModelEntry, PooledModel],
        ttl: float,
        *,
        unload: Callable[[PooledModel], object],
        clock: Callable[[], float],
    ) -> None:
        """*models* are the pool's, a live view; a *ttl* of 0 unloads none."""
        self._models = models
        self._ttl = ttl
        self._unload = unload
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def sweep(self) -> None:
        """Unload the models that are idle for long enough, and schedule the next sweep."""
        self._timer = None
        now = self._clock()
        for model in self._models.values():
            if model.is_idle and now - model.last_used >= self._ttl:
                self._unload(model)
        self.schedule()

    def schedule(self) -> None:
        """Schedule a sweep for when the first idle model may be unloaded, if none is scheduled."""
        if not self._ttl or self._timer or self._closed:
            return
        idle = [model.last_used for model in self._models.values() if model.is_idle]
        if not idle:
            return  # the end of a lease calls this again
        wait = max(min(idle) + self._ttl - self._clock(), 0.0)
        self._timer = asyncio.get_running_loop().call_later(wait, self.sweep)

    def close(self) -> None:
        """Unload nothing more."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
            self._timer = None
