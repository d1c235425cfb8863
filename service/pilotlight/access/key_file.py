"""The file of API keys, reloaded when it changes."""

import logging
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from pilotlight.access.keys import ApiKey, InvalidKeys, read_file

logger = logging.getLogger(__name__)

_EVERY = 1.0
"""Seconds between two checks of the file, at least."""
_LARGEST = 1_000_000
"""Bytes; a larger file is a mistake, and reading it would delay every request."""

_Version: TypeAlias = tuple[int, int, int, int, int]


class KeyFile:
    """The keys in a file. Changes apply within a second, without a restart.

    If the file becomes invalid or is removed, the keys that were read stay valid. Links are
    resolved each time: Kubernetes updates a secret by renaming a link to its folder.
    """

    def __init__(self, path: Path, others: Sequence[ApiKey], *, clock: Callable[[], float]) -> None:
        """*others* are keys from elsewhere, which the file may not repeat. Raises `InvalidKeys`."""
        self._path = path
        self._others = others
        self._clock = clock
        self._keys, self._version = self._read()
        self._check_at = clock() + _EVERY
        self._complaint: str | None = None

    def current(self) -> Sequence[ApiKey]:
        """Return the valid keys."""
        now = self._clock()
        if now >= self._check_at:
            self._check_at = now + _EVERY
            self._reload()
        return self._keys

    def _reload(self) -> None:
        try:
            if self._is_unchanged():
                self._complaint = None
                return
            self._keys, self._version = self._read()
        except InvalidKeys as error:
            if str(error) != self._complaint:  # log it once, not every second
                self._complaint = str(error)
                logger.warning("%s: %s; earlier keys stay valid", self._path, error)
        else:
            self._complaint = None
            logger.info("%s: reloaded; API keys: %d", self._path, len(self._keys))

    def _is_unchanged(self) -> bool:
        try:
            return _version(self._path.stat()) == self._version
        except OSError:
            return False

    def _read(self) -> tuple[tuple[ApiKey, ...], _Version]:
        """Return the keys, and the version of the file; raises `InvalidKeys`."""
        try:
            with open(self._path, "rb", opener=_open) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise InvalidKeys("is not a regular file")
                content = file.read(_LARGEST + 1)
        except OSError as error:
            raise InvalidKeys(f"cannot be read: {error.strerror}") from None
        if len(content) > _LARGEST:
            raise InvalidKeys(f"is larger than {_LARGEST:,} bytes")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InvalidKeys("is not UTF-8 text") from None
        return read_file(text, self._others), _version(status)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # opening a pipe would block until it has a writer


def _version(status: os.stat_result) -> _Version:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
