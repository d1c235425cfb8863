"""The file of API keys, read anew when it changes."""

import logging
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from pilotlight.access.keys import ApiKey, KeysRefused, read_file

logger = logging.getLogger(__name__)

_EVERY = 1.0
"""Seconds in which the file is looked at once at most."""
_LARGEST = 1_000_000
"""Bytes; a larger file was named by mistake, and reading it would hold up every request."""

_Version: TypeAlias = tuple[int, int, int, int, int]


class KeyFile:
    """The keys in a file. What is changed holds from the next second on, without a restart.

    A file that is broken or gone changes nothing: the keys that were read stay in force. Links are
    followed each time, for Kubernetes updates a secret by renaming a link to its folder.
    """

    def __init__(self, path: Path, beside: Sequence[ApiKey], *, clock: Callable[[], float]) -> None:
        """*beside* are keys from elsewhere, which the file may not repeat. Raises `KeysRefused`."""
        self._path = path
        self._beside = beside
        self._clock = clock
        self._keys, self._version = self._read()
        self._look_at = clock() + _EVERY
        self._complaint: str | None = None

    def in_force(self) -> Sequence[ApiKey]:
        """Return the keys in force."""
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + _EVERY
            self._look()
        return self._keys

    def _look(self) -> None:
        try:
            if self._is_as_read():
                self._complaint = None
                return
            self._keys, self._version = self._read()
        except KeysRefused as error:
            if str(error) != self._complaint:  # once, and not every second
                self._complaint = str(error)
                logger.warning("%s: %s; earlier keys stay valid", self._path, error)
        else:
            self._complaint = None
            logger.info("%s: reloaded; API keys: %d", self._path, len(self._keys))

    def _is_as_read(self) -> bool:
        try:
            return _version(self._path.stat()) == self._version
        except OSError:
            return False

    def _read(self) -> tuple[tuple[ApiKey, ...], _Version]:
        """Return the keys, and the version of the file they are from; raises `KeysRefused`."""
        try:
            with open(self._path, "rb", opener=_open) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise KeysRefused("is not a regular file")
                content = file.read(_LARGEST + 1)
        except OSError as error:
            raise KeysRefused(f"cannot be read: {error.strerror}") from None
        if len(content) > _LARGEST:
            raise KeysRefused(f"is larger than {_LARGEST:,} bytes")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise KeysRefused("is not UTF-8 text") from None
        return read_file(text, self._beside), _version(status)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for its writer


def _version(status: os.stat_result) -> _Version:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
