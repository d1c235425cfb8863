"""Cache the results of probes until the files change."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from pilotlight_backend import BackendError
from pilotlight_backend.split_file import each_part

_Signature: TypeAlias = tuple[tuple[int, ...], ...]

T = TypeVar("T")


class ProbeCache:
    """Probes a path once, and again when it changes. Any thread; two may probe the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Path], tuple[_Signature, Any]] = {}

    def probe(self, name: str, probe: Callable[[Path], T], path: Path) -> T:
        """Return what *probe*, called *name*, returns for *path*, or raise what it raises.

        An `OSError` is not cached.
        """
        signature = _signature(path)
        key = (name, path)
        known = self._known.get(key)
        if known is None or known[0] != signature:
            known = signature, _outcome(probe, path)
            self._known[key] = known
        outcome: T | BackendError = known[1]
        if isinstance(outcome, BackendError):
            raise outcome.with_traceback(None)  # else it would keep the frames of all callers
        return outcome


def _outcome(probe: Callable[[Path], T], path: Path) -> T | BackendError:
    try:
        return probe(path)
    except BackendError as error:
        return error


def _signature(path: Path) -> _Signature:
    """Return a value that changes with *path*, with its other parts, or with the folder's files."""
    # Up to the first missing part: a probe reads no further.
    whole = itertools.takewhile(bool, map(_stat, each_part(path)))
    # A model's projector is beside it: one that comes or goes changes the folder.
    return (*whole, *filter(None, map(_stat, _inside(path))), _stat(path.parent))


def _stat(path: Path) -> tuple[int, ...]:
    """Return a value that changes with the file at *path*; empty for a broken link."""
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size


def _inside(path: Path) -> list[Path]:
    try:
        return sorted(path.iterdir()) if path.is_dir() else []
    except OSError:
        return []
