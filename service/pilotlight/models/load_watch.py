"""How far one load is, and when its phases began and ended."""

from collections.abc import Callable

from pilotlight.receipt import Phases
from pilotlight_backend import LoadProgress


class LoadWatch:
    """Follows one load from when its bytes begin to be read.

    `note` is called on the load's thread, everything else on the event loop; each reads and writes
    single references, so there is no lock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = self._phase_began = clock()
        self._over: dict[str, float] = {}
        self.progress: LoadProgress | None = None
        """The last report."""

    def note(self, progress: LoadProgress) -> None:
        """Take a report; one of another phase ends the phase before."""
        if self.progress is not None and progress.phase != self.progress.phase:
            self._end_phase(self.progress)
        self.progress = progress

    def end(self) -> Phases:
        """Return the seconds of every phase; the model is ready."""
        if self.progress is not None:
            self._end_phase(self.progress)
        return self._over

    @property
    def elapsed(self) -> float:
        """Seconds since the load began."""
        return self._clock() - self._began

    @property
    def reading(self) -> float | None:
        """Seconds until the bytes were read; None while they are."""
        return self._over.get("read")

    @property
    def share(self) -> float:
        """The part of the bytes that is read, from 0 to 1."""
        if self.progress is None or not self.progress.bytes_total:
            return 0.0
        return min(self.progress.bytes_read / self.progress.bytes_total, 1.0)

    def _end_phase(self, progress: LoadProgress) -> None:
        now = self._clock()
        self._over[progress.phase] = self._over.get(progress.phase, 0.0) + now - self._phase_began
        self._phase_began = now
