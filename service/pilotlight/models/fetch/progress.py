"""How far a fetch is, as a value and as a line on a terminal. Pure, but for the writing."""

import sys
import time
from collections.abc import Callable
from typing import Literal, TextIO

from msgspec import Struct

_WIDTH = 24
_LINES_EVERY = 10.0
"""Seconds between two lines where they stay, in a log."""


class FetchProgress(Struct, frozen=True):
    """How far a fetch is, in bytes."""

    bytes_done: int
    bytes_total: int
    """0 until the source has told."""
    bytes_kept: int = 0
    """Of those that are done, what an earlier try had left."""
    phase: Literal["wait", "fetch", "check"] = "fetch"
    """`wait` for another process that fetches the same; `check` of the sha256."""


class ProgressBar:
    """Shows progress in one line of a terminal, and elsewhere in a line now and then."""

    def __init__(
        self, stream: TextIO = sys.stderr, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._lives = stream.isatty()
        self._began: float | None = None
        self._next = 0.0
        self._shown = ""

    def __call__(self, progress: FetchProgress) -> None:
        """Show *progress*, where it is time."""
        now = self._clock()
        if self._began is None and progress.bytes_total:
            self._began = now
        whole = progress.bytes_total and progress.bytes_done == progress.bytes_total
        line = describe(progress, now - (self._began or now))
        if line == self._shown or not (self._lives or whole or now >= self._next):
            return
        self._next = now + _LINES_EVERY
        padding = " " * (len(self._shown) - len(line))
        self._stream.write(f"\r{line}{padding}" if self._lives else f"{line}\n")
        self._stream.flush()
        self._shown = line

    def end(self) -> None:
        """Leave the line."""
        if self._lives and self._shown:
            self._stream.write("\n")


def describe(progress: FetchProgress, elapsed: float) -> str:
    """Return a line about *progress* after *elapsed* seconds."""
    done, total = progress.bytes_done, progress.bytes_total
    if progress.phase == "wait":
        return "waiting for another process to fetch it"
    if not total:
        return "contacting the source"
    if progress.phase == "check":
        return "checking the sha256"
    filled = _WIDTH * done // total
    line = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {100 * done // total:3} %"
    line += f"  {in_bytes(done)} of {in_bytes(total)}"
    fetched = done - progress.bytes_kept
    if fetched <= 0 or elapsed <= 0:
        return line
    minutes, seconds = divmod(round((total - done) * elapsed / fetched), 60)
    return f"{line}  {in_bytes(fetched / elapsed)}/s  {minutes}:{seconds:02} left"


def in_bytes(count: float) -> str:
    """Return *count* for a reader: `1.2 GB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:  # noqa: PLR2004 - the next unit's size
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
