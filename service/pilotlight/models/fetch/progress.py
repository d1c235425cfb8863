"""The progress of a fetch, as a value and as a line on a terminal. Pure, except for the output."""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Literal, TextIO

from msgspec import Struct

_WIDTH = 24
_LINES_EVERY = 10.0
"""Seconds between two lines in a log."""


class FetchProgress(Struct, frozen=True):
    """The progress of a fetch, in bytes."""

    bytes_done: int
    bytes_total: int
    """0 until the source has reported it."""
    bytes_kept: int = 0
    """The bytes of these from an earlier attempt."""
    phase: Literal["wait", "fetch", "check"] = "fetch"
    """`wait` for another process that fetches the same; `check` the sha256."""


def together(parts: Sequence[FetchProgress]) -> FetchProgress:
    """Return the progress of *parts* as one; its phase is that of the part that is not fetched."""
    return FetchProgress(
        sum(one.bytes_done for one in parts),
        sum(one.bytes_total for one in parts),
        sum(one.bytes_kept for one in parts),
        next((one.phase for one in parts if one.phase != "fetch"), "fetch"),
    )


class ProgressBar:
    """Shows progress in one line of a terminal, or in a log as a line now and then."""

    def __init__(
        self, stream: TextIO = sys.stderr, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._is_terminal = stream.isatty()
        self._began: float | None = None
        self._next = 0.0
        self._shown = ""

    def __call__(self, progress: FetchProgress) -> None:
        """Show *progress*, if it is time."""
        now = self._clock()
        if self._began is None and progress.bytes_total:
            self._began = now
        whole = progress.bytes_total and progress.bytes_done == progress.bytes_total
        line = describe(progress, now - (self._began or now))
        if line == self._shown or not (self._is_terminal or whole or now >= self._next):
            return
        self._next = now + _LINES_EVERY
        padding = " " * (len(self._shown) - len(line))
        self._stream.write(f"\r{line}{padding}" if self._is_terminal else f"{line}\n")
        self._stream.flush()
        self._shown = line

    def end(self) -> None:
        """End the line."""
        if self._is_terminal and self._shown:
            self._stream.write("\n")


def describe(progress: FetchProgress, elapsed: float) -> str:
    """Describe *progress* after *elapsed* seconds in one line."""
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
    """Format *count* bytes: `1.2 GB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:  # noqa: PLR2004 - the next unit's size
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
