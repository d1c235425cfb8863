"""What earlier loads took, kept between runs where there is a folder to keep it in.

A process that scaled to zero and came back knows at its first request how long its model takes.
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
"""Loads of one model: the machine's state changes, and older ones mislead."""
_FILE_NAME = "loads.json"

_decoder = msgspec.json.Decoder(dict[str, list[LoadTimes]])


def model_key(backend: str, facts: ModelFacts) -> str:
    """Name what makes a load long: who loads, and what. Another file of the name is another key."""
    return f"{backend} {facts.path.name} {facts.size_bytes}"


class LoadHistory:
    """The last loads of each model. Used from threads: it reads and writes a file."""

    def __init__(self, folder: Path | None) -> None:
        """*folder* may not exist and may not be writable; without one, nothing is kept."""
        self._path = folder and folder / _FILE_NAME
        self._loads: defaultdict[str, deque[LoadTimes]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._read = False
        self._lock = threading.Lock()
        """Guards all of it, the file too: loads end side by side, and others begin meanwhile."""

    def of(self, key: str) -> Sequence[LoadTimes]:
        """Return what is known of *key*, the latest last."""
        with self._lock:
            self._read_once()
            return tuple(self._loads.get(key, ()))

    def add(self, key: str, times: LoadTimes) -> None:
        """Remember a load, and write the file."""
        with self._lock:
            self._read_once()  # else what earlier runs noted would come behind it, or be lost
            self._loads[key].append(times)
            self._save()

    def _save(self) -> None:
        if self._path is None:
            return
        kept = {key: list(loads) for key, loads in self._loads.items()}
        try:
            _write(self._path, msgspec.json.encode(kept))
        except OSError as error:  # a read-only file system is a usual thing
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
    """Write the file whole or not at all: several instances may share the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
