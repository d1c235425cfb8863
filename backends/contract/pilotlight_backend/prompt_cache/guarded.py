"""A storage whose failures cost no more than a miss.

The first failure is logged, and the storage is left alone for a while, so that neither a full disk
nor a bucket that answers 503 delays requests again and again.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from pilotlight_backend.prompt_cache import state_file
from pilotlight_backend.prompt_cache.entry import Entry, Snapshot
from pilotlight_backend.prompt_cache.state_file import Damaged
from pilotlight_backend.prompt_cache.storage import ABANDONED, Storage, StoredFile, prune

logger = logging.getLogger("pilotlight.backend")

_COOL_DOWN = 30.0
"""Seconds in which a storage that has failed is left alone."""


class GuardedStorage:
    """The files of one cache in a storage. Blocks; raises nothing that the storage raises."""

    def __init__(
        self,
        open_: Callable[[], Storage],
        *,
        prefix: str,
        limit: int | None,
        ttl: float | None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """*prefix* begins the names of this cache's files; *limit* and *ttl* are of all files.

        *open_* returns the storage. It is called at the first use, on a thread that may wait: the
        library of a bucket takes a second to import.
        """
        self._open = open_
        self._storage: Storage | None = None
        self._opening = threading.Lock()
        self._prefix = prefix
        self._limit = limit
        self._ttl = ttl
        self._wall_clock = wall_clock
        self._unfit: set[str] = set()
        """Files that are damaged, and cannot be deleted."""
        self._reading = _Circuit("read", clock)
        self._writing = _Circuit("written", clock)

    @property
    def errors(self) -> int:
        """Calls that failed."""
        return self._reading.errors + self._writing.errors

    @property
    def is_readable(self) -> bool:
        """Whether it is worth a try to read."""
        return self._reading.is_closed

    @property
    def is_writable(self) -> bool:
        """Whether it is worth a try to write. A folder that is read-only serves those who read."""
        return self._writing.is_closed

    def takes(self, size: int) -> bool:
        """Tell whether *size* bytes are below the limit of all files."""
        return self._limit is None or size <= self._limit

    def _opened(self) -> Storage:
        with self._opening:
            if self._storage is None:
                try:
                    self._storage = self._open()
                except (ImportError, ValueError, RuntimeError) as error:
                    # Of a library that is missing, of an address, of a home that is not known.
                    raise OSError(None, str(error)) from error
            return self._storage

    def files(self) -> list[StoredFile] | None:
        """Return this cache's files; None where the storage fails."""
        if not self.is_readable:
            return None
        try:
            files = self._opened().files()
        except OSError as error:
            self._reading.fail(error)
            return None
        self._reading.succeed()
        return [file for file in files if self._is_ours(file)]

    def _is_ours(self, file: StoredFile) -> bool:
        is_old = self._ttl is not None and self._wall_clock() - file.used > self._ttl
        return file.name.startswith(self._prefix) and file.name not in self._unfit and not is_old

    def entries(self, files: Sequence[StoredFile]) -> Iterator[tuple[str, Entry]]:
        """Yield what *files* are of; those that are gone are passed over, damaged ones deleted."""
        try:
            for file, start in self._opened().starts(files):
                try:
                    yield file.name, state_file.read_header(file.name, start, file.size)
                except Damaged as error:
                    if not self._is_growing(file, start):
                        self._discard(file.name, error)
        except OSError as error:
            self._reading.fail(error)

    def _is_growing(self, file: StoredFile, start: bytes) -> bool:
        """Tell whether *file* may be one that another instance is writing under its own name.

        Folders that are mounted buckets or network shares may rename by copying.
        """
        is_young = self._wall_clock() - file.used < ABANDONED
        return is_young and state_file.is_short(start, file.size)

    def read(self, name: str) -> Snapshot | None:
        """Return a file's states; None where it is gone, was damaged, or the storage fails."""
        try:
            snapshot = state_file.read_snapshot(name, self._opened().read(name))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._reading.fail(error)
            return None
        except Damaged as error:
            self._discard(name, error)
            return None
        except MemoryError:  # the storage is not at fault
            logger.warning("there is no memory to read the cached state %s", name)
            return None
        self._reading.succeed()
        return snapshot

    def write(self, name: str, entry: Entry, snapshot: Snapshot) -> list[str] | None:
        """Write a file, and return the names of those that made room; None: it was not written."""
        if not self.is_writable:
            return None
        try:
            self._opened().write(name, state_file.pieces(entry, snapshot))
        except OSError as error:
            self._writing.fail(error)
            return None
        except MemoryError:
            logger.warning("there is no memory to write the cached state %s", name)
            return None
        self._writing.succeed()
        self._unfit.discard(name)
        return self._prune()

    def _prune(self) -> list[str]:
        try:
            return prune(self._opened(), limit=self._limit, ttl=self._ttl, now=self._wall_clock())
        except OSError as error:  # what can be read is read all the same
            self._writing.fail(error)
            return []

    def delete(self, name: str) -> bool:
        """Delete a file; tell whether it is gone."""
        try:
            self._opened().delete(name)
        except OSError as error:
            self._writing.fail(error)
            return False
        return True

    def touch(self, name: str) -> None:
        """Note that a file was of use."""
        try:
            self._opened().touch(name)
        except OSError:  # a folder that is read-only serves all the same
            logger.debug("%s cannot be touched", name, exc_info=True)

    def _discard(self, name: str, error: Damaged) -> None:
        """Delete a damaged file, so that no instance reads it again."""
        logger.warning("the cached state %s is deleted: %s", name, error)
        if not self.delete(name):
            self._unfit.add(name)


class _Circuit:
    """One way to use a storage, which is open for a while after a failure: nothing is tried."""

    def __init__(self, what: str, clock: Callable[[], float]) -> None:
        self._what = what
        self._clock = clock
        self._failed_at: float | None = None
        self.errors = 0

    @property
    def is_closed(self) -> bool:
        return self._failed_at is None or self._clock() - self._failed_at >= _COOL_DOWN

    def fail(self, error: OSError) -> None:
        """Note a failure; the first one is logged."""
        if self._failed_at is None:
            logger.warning(
                "the prompt cache's storage cannot be %s: %s; requests are served without it",
                self._what,
                error.strerror or error,
            )
        # Counted before: who sees the storage left alone sees the error that is the reason.
        self.errors += 1
        self._failed_at = self._clock()

    def succeed(self) -> None:
        """Note that it works."""
        if self._failed_at is not None:
            self._failed_at = None
            logger.info("the prompt cache's storage can be %s again", self._what)
