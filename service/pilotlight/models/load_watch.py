"""How far one load is, when its phases began and ended, and how long it will take still."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from pilotlight.models import estimate
from pilotlight.models.estimate import LoadTimes, Outlook
from pilotlight.models.fetch.progress import FetchProgress
from pilotlight.receipt import Phases
from pilotlight_backend import LoadProgress


class LoadWatch:
    """Follows one load: its files are fetched, where need be, then read and loaded.

    `note` and `note_fetch` are called on the load's thread, everything else on the event loop; each
    reads and writes single references, so there is no lock.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._made = clock()
        self._began: float | None = None
        """When its bytes began to be read; None while it waits for memory, say."""
        self._phase_began = 0.0
        self._over: dict[str, float] = {}
        self._fetching: FetchProgress | None = None
        self._fetch_began: float | None = None
        """When the first byte was asked for."""
        self._progress: LoadProgress | None = None
        self._share = 0.0
        """The largest that was reported."""
        self.moves = 0
        """Reports of the load that told of progress; one that repeats the last does not."""

    # ── what happens ───────────────────────────────────────────────────────────────────────────

    def note_fetch(self, progress: FetchProgress) -> None:
        """Take a report of the fetch."""
        if self._fetch_began is None and progress.bytes_total:
            self._fetch_began = self._clock()
        self._fetching = progress

    def fetched(self, *, brought: bool) -> None:
        """Note that the files are here, and whether any had to be *brought*."""
        self._fetching = None
        if brought:
            self._over["fetch"] = self._clock() - self._made

    def begin(self) -> None:
        """Note that their bytes begin to be read."""
        self._began = self._phase_began = self._clock()

    def note(self, progress: LoadProgress) -> None:
        """Take a report of the load; one of another phase ends the phase before."""
        if self._progress is not None and progress.phase != self._progress.phase:
            self._end_phase(self._progress)
        self.moves += progress != self._progress
        self._progress = progress

    def end(self) -> Phases:
        """Return the seconds of every phase; the model is ready."""
        if self._progress is not None:
            self._end_phase(self._progress)
        return self._over

    def _end_phase(self, progress: LoadProgress) -> None:
        now = self._clock()
        self._over[progress.phase] = self._over.get(progress.phase, 0.0) + now - self._phase_began
        self._phase_began = now

    # ── how far it is ──────────────────────────────────────────────────────────────────────────

    @property
    def age(self) -> float:
        """Seconds since the load was decided on."""
        return self._clock() - self._made

    @property
    def elapsed(self) -> float:
        """Seconds since the bytes began to be read."""
        return 0.0 if self._began is None else self._clock() - self._began

    def share(self, earlier: Sequence[LoadTimes]) -> float:
        """Return how far it is, from 0 to below 1, and never less than before.

        Where more is left than there seemed to be, as between a fetch and its load, it stands
        until it is true again.
        """
        outlook = self._outlook(earlier)
        if outlook is not None:
            self._share = max(self._share, outlook.share)
        return self._share

    def remaining(self, earlier: Sequence[LoadTimes]) -> float | None:
        """Return the seconds that it needs still; *earlier* is what loads of the model took."""
        outlook = self._outlook(earlier)
        return None if outlook is None else outlook.left

    def _outlook(self, earlier: Sequence[LoadTimes]) -> Outlook | None:
        if self._fetching is not None:
            began = self._fetch_began
            elapsed = 0.0 if began is None else self._clock() - began
            return estimate.fetching(self._fetching, elapsed)
        outlook = estimate.loading(self._progress, self.elapsed, self._over.get("read"), earlier)
        if outlook is None:
            return None
        return replace(outlook, over=outlook.over + self._over.get("fetch", 0.0))
