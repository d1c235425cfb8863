"""Which adapters have requests: what routers choose an instance by."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class AdapterUse:
    """Counts the requests of each adapter. Used on one loop."""

    def __init__(self) -> None:
        self._waiting: Counter[str] = Counter()
        self._running: Counter[str] = Counter()

    @property
    def waiting(self) -> list[str]:
        """The adapters with requests that wait for a slot, sorted by name."""
        return sorted(+self._waiting)

    @property
    def running(self) -> list[str]:
        """The adapters with requests that have a slot, sorted by name."""
        return sorted(+self._running)

    @contextmanager
    def waits(self, adapters: Iterable[str]) -> Iterator[None]:
        """Count a request of *adapters* as waiting while the context lasts."""
        with _counted(self._waiting, adapters):
            yield

    @contextmanager
    def runs(self, adapters: Iterable[str]) -> Iterator[None]:
        """Count a request of *adapters* as running while the context lasts."""
        with _counted(self._running, adapters):
            yield


@contextmanager
def _counted(counts: Counter[str], adapters: Iterable[str]) -> Iterator[None]:
    counts.update(adapters)
    try:
        yield
    finally:
        counts.subtract(adapters)
