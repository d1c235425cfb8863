"""How long earlier loads took, kept in a file between runs.

After scaling from zero, the first request gets an estimate of its load.
"""

import logging
import os
import tempfile
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pilotlight.models.loading.progress import LoadTimes
from pilotlight_backend import ModelFacts

logger = logging.getLogger(__name__)

_KEPT = 8
"""Loads that are kept for each model: older ones are less representative."""
_FILE_NAME = "loads.json"

_decoder = msgspec.json.Decoder(dict[str, list[LoadTimes]])


def model_key(backend: str, facts: ModelFacts) -> str:
    """Return a key of the backend and the file; a changed file has another key."""
    return f"{backend} {facts.path.name} {facts.size_bytes}"


class LoadHistory:
    """The last loads of each model. Used from threads: it reads and writes a file."""

    def __init__(self, folder: Path | None) -> None:
        """*folder* may be missing or read-only; without one nothing is written."""
        self._path = folder and folder / _FILE_NAME
        self._loads: defaultdict[str, deque[LoadTimes]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._read = False
        self._lock = threading.Lock()
        """Guards all fields and the file: loads run at the same time."""

    def of(self, key: str) -> Sequence[LoadTimes]:
        """Return the loads of *key*, the latest last."""
        with self._lock:
            self._read_once()
            return tuple(self._loads.get(key, ()))

    def add(self, key: str, times: LoadTimes) -> None:
        """Add a load, and write the file."""
        with self._lock:
            self._read_once()  # else loads of earlier runs would come later, or be lost
            self._loads[key].append(times)
            self._save()

    def _save(self) -> None:
        if self._path is None:
            return
        kept = {key: list(loads) for key, loads in self._loads.items()}
        try:
            _write(self._path, msgspec.json.encode(kept))
        except OSError as error:  # read-only file systems are common
            logger.debug("load times are not kept: %s", error)
            self._path = None

    def _read_once(self) -> None:
        if self._read:
            return
        self._read = True
        if self._path is None:
            return
        try:
            kept = _decoder.decode(self._path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.debug("load times cannot be read: %s", error)
            return
        for key, loads in kept.items():
            self._loads[key].extend(loads)


def _write(path: Path, data: bytes) -> None:
    """Write the file atomically: several instances may share the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
