"""The progress of one load: its phases, the estimate of what is left, and when it has stalled."""

import math
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from pilotlight.models.fetch.progress import FetchProgress
from pilotlight.models.health.watchdog import StepTimer, check_interval
from pilotlight_backend import LoadProgress, Step

Phases: TypeAlias = Mapping[str, float]
"""Seconds of a load by phase, in order: `fetch` (if files were fetched), `read`, `load`, `warm`."""

LoadPhase: TypeAlias = Literal["fetch", "read", "load", "warm"]

_SET_UP, _SET_UP_RATE = 0.5, 1e9
"""Estimate of the phases after `read` without an earlier load: seconds, and bytes a second.

A model of 0.6 GB took 1.1 s for weights, context and first token after its bytes were read.
"""

_OVERDUE = 0.3
"""Share of its expected time that a phase still needs when that time is over.

It grows with the square root of the time from there on: a phase that takes eight times as long as
expected shows 90 %. So the progress is below 1, and Retry-After above 0, until the model is ready.
"""
_SHORTEST_EXPECTED = 0.01
"""Seconds that a phase is expected to take at least."""


class LoadTimes(Struct, frozen=True):
    """How long one load took, in seconds: reading the bytes, and the rest."""

    reading: float
    rest: float


class Estimate(Struct, frozen=True):
    """How much of a load is done and left, in seconds.

    Not in bytes: the context and the first token come after the bytes are read, and took half of
    the time of some loads.
    """

    done: float
    """Taken by the phases that are done."""
    expected: float
    """Expected of the phase that is under way or next, as a whole."""
    under_way: float = 0.0
    """Taken by that phase so far, if nothing measures its progress."""

    @property
    def left(self) -> float:
        """The seconds until the load ends, more than 0."""
        return self._expected * self._ahead

    @property
    def share(self) -> float:
        """The part of the load's time that is over, from 0 to below 1; it grows with time."""
        lateness = self.under_way / self._expected
        done = self._expected * lateness / (lateness + self._ahead)
        return (self.done + done) / (self.done + self._expected)

    @property
    def _expected(self) -> float:
        return max(self.expected, _SHORTEST_EXPECTED)

    @property
    def _ahead(self) -> float:
        """What is left of the phase, as a share of its expected time."""
        lateness = self.under_way / self._expected
        return max(1 - lateness, _OVERDUE * math.sqrt(lateness))


def estimate_load(
    progress: LoadProgress | None,
    elapsed: float,
    reading_took: float | None,
    earlier: Sequence[LoadTimes],
) -> Estimate | None:
    """Estimate a load whose files are on this machine; None if nothing is known yet.

    *elapsed* is seconds since the load began, *reading_took* until its bytes were read; *earlier*
    are loads of the same model. During `read` its own rate counts, not that of earlier loads: a
    cold disk is slower than the page cache.
    """
    if progress is None or (progress.phase == "read" and not progress.bytes_read):
        if not earlier:
            return None
        expected = _median([one.reading + one.rest for one in earlier])
        return Estimate(done=0.0, expected=expected, under_way=elapsed)
    rest = _median([one.rest for one in earlier]) if earlier else _set_up(progress.bytes_total)
    if progress.phase != "read" and reading_took is not None:
        return Estimate(done=reading_took, expected=rest, under_way=elapsed - reading_took)
    left = max(progress.bytes_total - progress.bytes_read, 0)
    return Estimate(done=elapsed, expected=left * elapsed / progress.bytes_read + rest)


def estimate_fetch(progress: FetchProgress | None, elapsed: float) -> Estimate | None:
    """Estimate a load while its files are fetched; None if nothing is known yet.

    *elapsed* is seconds since the first byte was requested. Earlier loads do not count: which
    backend loads the model is known only once the files are here.
    """
    if progress is None or not progress.bytes_total:
        return None
    rest = _set_up(progress.bytes_total)
    left = progress.bytes_total - progress.bytes_done
    fetched = progress.bytes_done - progress.bytes_kept
    if left and fetched <= 0:
        return None
    return Estimate(done=elapsed, expected=left * elapsed / fetched + rest if left else rest)


def _set_up(bytes_total: int) -> float:
    return _SET_UP + bytes_total / _SET_UP_RATE


async def stall(
    moves: Callable[[], int],
    seconds: float,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], Awaitable[None]],
) -> None:
    """Return once *moves*, the count of progress reports, has not changed for *seconds*.

    As for an engine's steps, time in which the process itself was frozen does not count.
    """
    interval = check_interval(seconds)
    timer = StepTimer(seconds, interval=interval)
    while not timer.hangs(clock(), (Step(moves(), 0),)):
        await sleep(interval)


class LoadTracker:
    """Measures one load: the fetch, if need be, then the phases of the backend.

    `note` and `note_fetch` run on the load's thread, everything else on the event loop. They read
    and write single references, so there is no lock.
    """

    def __init__(
        self, clock: Callable[[], float], *, reported: threading.Event | None = None
    ) -> None:
        """Begin now. *reported* is set by the backend's first report."""
        self._clock = clock
        self._reported = reported or threading.Event()
        self._created = clock()
        self._began: float | None = None
        """When the backend started to load; None before, for example while waiting for memory."""
        self._phase_began = 0.0
        self._phases: dict[str, float] = {}
        self._fetching: FetchProgress | None = None
        self._fetch_began: float | None = None
        """When the first byte was requested."""
        self._progress: LoadProgress | None = None
        self._share = 0.0
        """The largest share that was returned."""
        self.moves = 0
        """Progress reports that differ from the one before."""

    # ── recording ──────────────────────────────────────────────────────────────────────────────

    def note_fetch(self, progress: FetchProgress) -> None:
        """Record a progress report of the fetch."""
        if self._fetch_began is None and progress.bytes_total:
            self._fetch_began = self._clock()
        self._fetching = progress

    def fetched(self, *, brought: bool) -> None:
        """Record that the files are here, and whether any were *brought* by a fetch."""
        self._fetching = None
        if brought:
            self._phases["fetch"] = self._clock() - self._created

    def begin(self) -> None:
        """Record that the backend starts to load."""
        self._began = self._phase_began = self._clock()

    def note(self, progress: LoadProgress) -> None:
        """Record a progress report of the load; a new phase ends the one before."""
        if self._progress is not None and progress.phase != self._progress.phase:
            self._end_phase(self._progress)
        self.moves += progress != self._progress
        self._progress = progress
        self._reported.set()

    def end(self) -> Phases:
        """Record that the model is ready, and return the seconds of each phase."""
        if self._progress is not None:
            self._end_phase(self._progress)
        return self._phases

    def _end_phase(self, progress: LoadProgress) -> None:
        now = self._clock()
        taken = self._phases.get(progress.phase, 0.0)
        self._phases[progress.phase] = taken + now - self._phase_began
        self._phase_began = now

    # ── reading ────────────────────────────────────────────────────────────────────────────────

    @property
    def phase(self) -> LoadPhase | None:
        """The phase that is under way; None before the first, for example while memory is freed."""
        if self._fetching is not None:
            return "fetch"
        return None if self._progress is None else self._progress.phase

    @property
    def age(self) -> float:
        """Seconds since the decision to load."""
        return self._clock() - self._created

    @property
    def elapsed(self) -> float:
        """Seconds since the backend started to load."""
        return 0.0 if self._began is None else self._clock() - self._began

    def share(self, earlier: Sequence[LoadTimes]) -> float:
        """Return the part of the time that is over, from 0 to below 1; it never falls.

        If the estimate falls, as it may from a fetch to its load, the share stays until the
        estimate has caught up.
        """
        estimate = self._estimate(earlier)
        if estimate is not None:
            self._share = max(self._share, estimate.share)
        return self._share

    def remaining(self, earlier: Sequence[LoadTimes]) -> float | None:
        """Return the seconds until it ends; None if that is unknown."""
        estimate = self._estimate(earlier)
        return None if estimate is None else estimate.left

    def _estimate(self, earlier: Sequence[LoadTimes]) -> Estimate | None:
        if self._fetching is not None:
            began = self._fetch_began
            elapsed = 0.0 if began is None else self._clock() - began
            return estimate_fetch(self._fetching, elapsed)
        estimate = estimate_load(self._progress, self.elapsed, self._phases.get("read"), earlier)
        if estimate is None:
            return None
        return replace(estimate, done=estimate.done + self._phases.get("fetch", 0.0))


def _median(seconds: Sequence[float]) -> float:
    """Return the middle of *seconds*: one load on a machine that did something else changes little.

    The module `statistics` would take longer to import than some loads do.
    """
    ordered = sorted(seconds)
    half = len(ordered) // 2
    return (ordered[half] + ordered[-half - 1]) / 2
