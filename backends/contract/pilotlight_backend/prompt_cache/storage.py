"""Files of cached states, which any number of instances share without a lock.

Files are immutable and named by what they are of, so two writers of one name write the same. A
folder's files get their name by a rename when they are whole; buckets have no half-written objects.
Whoever writes also prunes: files that were not used for long, then, beyond the limit, those that
were used longest ago, and what a killed writer left.

Every method may block, and raises `OSError` alone.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from pilotlight_backend.prompt_cache.buffers import allocate
from pilotlight_backend.prompt_cache.entry import SUFFIX
from pilotlight_backend.prompt_cache.state_file import PREAMBLE, Buffer, Damaged, header_size

_PART = ".part"
ABANDONED = 600.0
"""Seconds without a write after which a file that has no name yet counts as left behind. Its last
write is followed by a flush, which takes a minute for 2 GB on a slow disk."""


class StoredFile(Struct, frozen=True):
    """A file as a listing has it."""

    name: str
    size: int
    used: float
    """When it was last read or written, as far as the storage tells; seconds since the epoch."""


class Storage(Protocol):
    """Where files are kept."""

    def files(self) -> list[StoredFile]:
        """Return every file; none where the folder is not there yet."""

    def starts(self, files: Sequence[StoredFile]) -> Iterator[tuple[StoredFile, bytes]]:
        """Yield each file with its preamble and header, as far as it has such; missing ones not."""

    def read(self, name: str) -> Buffer:
        """Return a file's bytes."""

    def write(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Write a file, whole or not at all."""

    def touch(self, name: str) -> None:
        """Note that a file was of use."""

    def delete(self, name: str) -> None:
        """Delete a file; a no-op where it is gone."""

    def sweep(self, age: float = ABANDONED) -> int:
        """Delete what killed writers left, if it was not written for *age* seconds.

        Returns the bytes that are left: those that are being written, as far as can be told.
        """


class Folder:
    """A folder: on a disk, a volume that instances share, or a bucket that is mounted.

    Files are readable for their owner alone: they hold prompts.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock

    def files(self) -> list[StoredFile]:
        """Return every file; none where the folder is not there yet."""
        try:
            with os.scandir(self._path) as entries:
                return [file for one in entries if (file := _stored(one)) is not None]
        except FileNotFoundError:
            return []

    def starts(self, files: Sequence[StoredFile]) -> Iterator[tuple[StoredFile, bytes]]:
        """Yield each file with its preamble and header."""
        for file in files:
            # One that is gone, another user's or unreadable is passed over.
            with suppress(OSError), (self._path / file.name).open("rb") as opened:
                preamble = opened.read(PREAMBLE.size)
                yield file, preamble + _header_behind(preamble, opened.read)

    def read(self, name: str) -> Buffer:
        """Return a file's bytes.

        Read and not mapped: a file that is cut short while it is mapped ends the process.
        """
        with (self._path / name).open("rb", buffering=0) as file:
            whole = allocate(os.fstat(file.fileno()).st_size)
            done = 0
            while done < len(whole) and (count := file.readinto(whole[done:])):
                done += count
            return whole[:done]

    def write(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Write a file beside its name, and rename it when it is on the disk."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self._path / f".{name}.{os.getpid()}.{time.monotonic_ns()}{_PART}"
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                for piece in pieces:
                    _write_all(file, piece)
                os.fsync(file.fileno())
            part.replace(self._path / name)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def touch(self, name: str) -> None:
        """Note that a file was of use: its time of modification is when."""
        now = self._clock()
        os.utime(self._path / name, (now, now))

    def delete(self, name: str) -> None:
        """Delete a file; a no-op where it is gone."""
        (self._path / name).unlink(missing_ok=True)

    def sweep(self, age: float = ABANDONED) -> int:
        """Delete what killed writers left; return the bytes of what may still be written."""
        left = 0
        with suppress(FileNotFoundError), os.scandir(self._path) as entries:
            for one in entries:
                if one.name.endswith(_PART) and one.name.startswith("."):
                    with suppress(FileNotFoundError):
                        status = one.stat()
                        if self._clock() - status.st_mtime > age:
                            Path(one.path).unlink()
                        else:
                            left += status.st_size
        return left


def _stored(entry: "os.DirEntry[str]") -> StoredFile | None:
    if not entry.name.endswith(SUFFIX) or not entry.is_file(follow_symlinks=False):
        return None
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return StoredFile(name=entry.name, size=status.st_size, used=status.st_mtime)


def _write_all(file: Any, piece: Buffer) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]


def _header_behind(preamble: bytes, read: Callable[[int], bytes]) -> bytes:
    try:
        return read(header_size(preamble))
    except Damaged:
        return b""


def open_storage(address: str) -> Storage:
    """Return the storage at *address*, a folder's path or an URL.

    Raises `ImportError` where the address's library is not installed.
    """
    if "://" not in address:
        return Folder(Path(address).expanduser())
    from pilotlight_backend.prompt_cache.bucket import open_bucket  # noqa: PLC0415 - few have one

    return open_bucket(address)


def prune(storage: Storage, *, limit: int | None, ttl: float | None, now: float) -> list[str]:
    """Delete files that are too old, then those used longest ago until *limit* bytes are left.

    Returns the names. Deleting what another instance has just opened is harmless: it has it open.
    """
    unfinished = storage.sweep()
    files = sorted(storage.files(), key=lambda file: file.used)
    kept = unfinished + sum(file.size for file in files)
    deleted = []
    for file in files:
        is_old = ttl is not None and now - file.used > ttl
        if is_old or (limit is not None and kept > limit):
            storage.delete(file.name)
            kept -= file.size
            deleted.append(file.name)
    return deleted
