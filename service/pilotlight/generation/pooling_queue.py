"""How many requests may wait in an engine that embeds or ranks."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

from pilotlight.errors import QueueFull
from pilotlight.models.loaded import LoadedModel
from pilotlight.scheduling.throughput import Throughput


class PoolingQueue:
    """Refuses requests to an engine whose own queue is full.

    They do not wait in the fair queue: an engine takes all queued inputs in one batch, which a
    request in another queue would miss.
    """

    def __init__(self, *, max_queue: int, clock: Callable[[], float]) -> None:
        self._max_queue = max_queue
        self._clock = clock
        self._throughputs: WeakKeyDictionary[LoadedModel, Throughput] = WeakKeyDictionary()

    def throughput(self, model: LoadedModel) -> Throughput:
        """Return the record of how fast *model* finishes requests."""
        throughput = self._throughputs.get(model)
        if throughput is None:
            # One step may finish all requests with a slot, and the next one the whole queue.
            window = model.base.stats().slots + self._max_queue
            throughput = self._throughputs[model] = Throughput(window, self._clock)
        return throughput

    def check(self, model: LoadedModel) -> None:
        """Raise `QueueFull` if *model* has as many waiting requests as may wait."""
        queued = model.base.stats().queued
        if queued >= self._max_queue:
            raise QueueFull(
                f"the queue of this model is full; requests waiting: {queued}",
                retry_after=self.throughput(model).seconds_for(queued),
            )
