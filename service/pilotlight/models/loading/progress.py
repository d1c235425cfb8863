"""The progress of one load: its phases, the time that is left, and when it has stalled."""

import math
from collections.abc import Awaitable, Callable, Sequence
from statistics import fmean

from msgspec import Struct
from msgspec.structs import replace

from pilotlight.models.fetch.progress import FetchProgress
from pilotlight.models.health.watchdog import StepWatch, check_interval
from pilotlight.observability.timing import Phases
from pilotlight_backend import LoadProgress, Step

_SET_UP, _SET_UP_RATE = 0.5, 1e9
"""A guess for what follows the reading where no earlier load tells it: seconds, bytes a second.

A model of 0.6 GB took 1.1 s of weights, context and first token after its bytes were read.
"""


_LATE = 0.3
"""What is expected still of a part that takes as long as expected, as a share of that time. It
grows with the root of the time from there on: a part that takes eight times as long is shown at
nine tenths. So neither is the progress 1 nor Retry-After 0 before the model is ready.
"""
_LEAST_EXPECTED = 0.01
"""Seconds that a part is expected to take in any case."""


class LoadTimes(Struct, frozen=True):
    """What one load took, in seconds: reading its bytes, and everything after."""

    reading: float
    rest: float


class Outlook(Struct, frozen=True):
    """How a load stands, in seconds. Time is what counts, not bytes.

    When the bytes are read, the context and the first token are still to come, and took half of the
    time of some loads.
    """

    over: float
    """What is behind it."""
    expected: float
    """What the part that is ahead, or under way, takes as a whole."""
    under_way: float = 0.0
    """How long that part is under way, where nothing measures how far it is."""

    @property
    def left(self) -> float:
        """The seconds that the load needs still, more than 0."""
        return self._expected * self._ahead

    @property
    def share(self) -> float:
        """The part of the load's time that is over, from 0 to below 1; it grows with time."""
        lateness = self.under_way / self._expected
        done = self._expected * lateness / (lateness + self._ahead)
        return (self.over + done) / (self.over + self._expected)

    @property
    def _expected(self) -> float:
        return max(self.expected, _LEAST_EXPECTED)

    @property
    def _ahead(self) -> float:
        """What is left of the part, as a share of what it is expected to take."""
        lateness = self.under_way / self._expected
        return max(1 - lateness, _LATE * math.sqrt(lateness))


def loading(
    progress: LoadProgress | None,
    elapsed: float,
    reading_took: float | None,
    earlier: Sequence[LoadTimes],
) -> Outlook | None:
    """Return how a load stands whose files are here, or None where nothing tells.

    *elapsed* is seconds since the load began, *reading_took* those until its bytes were read,
    *earlier* what loads of the same model took. While bytes are read their rate is the better
    witness: a cold disk is slower than the page cache that an earlier load met.
    """
    if progress is None or (progress.phase == "read" and not progress.bytes_read):
        if not earlier:
            return None
        expected = fmean(one.reading + one.rest for one in earlier)
        return Outlook(over=0.0, expected=expected, under_way=elapsed)
    rest = fmean(one.rest for one in earlier) if earlier else _guessed_rest(progress.bytes_total)
    if progress.phase != "read" and reading_took is not None:
        return Outlook(over=reading_took, expected=rest, under_way=elapsed - reading_took)
    left = max(progress.bytes_total - progress.bytes_read, 0)
    return Outlook(over=elapsed, expected=left * elapsed / progress.bytes_read + rest)


def fetching(progress: FetchProgress | None, elapsed: float) -> Outlook | None:
    """Return how a load stands while its model is fetched, None where nothing tells.

    *elapsed* is seconds since the first byte was asked for. What follows is guessed: who will load
    it, and what that took before, is known when it is here.
    """
    if progress is None or not progress.bytes_total:
        return None
    rest = _guessed_rest(progress.bytes_total)
    left = progress.bytes_total - progress.bytes_done
    fetched = progress.bytes_done - progress.bytes_kept
    if left and fetched <= 0:
        return None
    return Outlook(over=elapsed, expected=left * elapsed / fetched + rest if left else rest)


def _guessed_rest(bytes_total: int) -> float:
    return _SET_UP + bytes_total / _SET_UP_RATE


async def stall(
    moves: Callable[[], int],
    seconds: float,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Return once *moves*, the progress made so far, was the same for so many *seconds*.

    As for an engine's steps, time in which the process itself stood still does not count.
    """
    interval = check_interval(seconds)
    watch = StepWatch(seconds, interval=interval)
    while not watch.hangs(clock(), (Step(moves(), 0),)):
        await sleep(interval)


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
            return fetching(self._fetching, elapsed)
        outlook = loading(self._progress, self.elapsed, self._over.get("read"), earlier)
        if outlook is None:
            return None
        return replace(outlook, over=outlook.over + self._over.get("fetch", 0.0))
