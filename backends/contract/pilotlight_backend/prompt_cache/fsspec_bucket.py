"""Buckets through fsspec, which finds credentials and endpoints in more places than obstore.

`bucket` says when. Its libraries take 0.9 (s3fs) and 1.6 (gcsfs) CPU seconds to import.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from pilotlight_backend.prompt_cache.bucket import GUESS, MOST_TRANSFERS, as_os_errors, missing
from pilotlight_backend.prompt_cache.entry import SUFFIX
from pilotlight_backend.prompt_cache.state_file import Buffer
from pilotlight_backend.prompt_cache.storage import ABANDONED, StoredFile


class FsspecBucket:
    """A bucket through s3fs or gcsfs, which find what their vendors' libraries find."""

    def __init__(self, address: str) -> None:
        """Open *address*; raises `ImportError` where its library is not installed."""
        scheme, _, path = address.partition("://")
        self._path = path.strip("/")
        self._leaves_parts = scheme == "s3"
        with as_os_errors():
            # Without a cache of listings: another instance's files would stay unknown.
            self._system = _class_of(scheme)(use_listings_cache=False, skip_instance_cache=True)

    def files(self) -> list[StoredFile]:
        """Return every object."""
        with as_os_errors():
            try:
                listed = self._system.ls(self._path, detail=True)
            except FileNotFoundError:
                return []
        return [
            StoredFile(
                name=one["name"].rpartition("/")[2], size=int(one["size"] or 0), used=_time_of(one)
            )
            for one in listed
            if one["type"] == "file" and one["name"].endswith(SUFFIX)
        ]

    def starts(self, files: Sequence[StoredFile]) -> Iterator[tuple[StoredFile, bytes]]:
        """Yield each object with its preamble and header, several read at a time."""
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

        with ThreadPoolExecutor(MOST_TRANSFERS, "prompt cache headers") as readers:
            for file, start in zip(files, readers.map(self._start, files), strict=True):
                if start is not None:
                    yield file, start

    def _start(self, file: StoredFile) -> bytes | None:
        try:
            with as_os_errors():
                start: bytes = self._system.cat_file(self._at(file.name), start=0, end=GUESS)
                if more := missing(start):
                    start += self._system.cat_file(
                        self._at(file.name), start=len(start), end=len(start) + more
                    )
        except FileNotFoundError:
            return None
        return start

    def read(self, name: str) -> Buffer:
        """Return an object's bytes."""
        with as_os_errors():
            whole: bytes = self._system.cat_file(self._at(name))
        return whole

    def write(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Write an object, in S3 as `Bucket` does; it is there when all of it is."""
        whole = b"".join(pieces)
        in_one = {"chunksize": len(whole) + 1} if self._leaves_parts else {}
        with as_os_errors():
            self._system.pipe_file(self._at(name), whole, **in_one)

    def touch(self, name: str) -> None:
        """Do nothing: to change an object's time is to write it anew."""

    def delete(self, name: str) -> None:
        """Delete an object; a no-op where it is gone."""
        with as_os_errors(), suppress(FileNotFoundError):
            self._system.rm_file(self._at(name))

    def sweep(self, age: float = ABANDONED) -> int:
        """Do nothing: buckets have no half-written objects."""
        del age
        return 0

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"


def _class_of(scheme: str) -> Any:
    if scheme == "gs":
        # Not `gcsfs.GCSFileSystem`, which uses gRPC to find out the kind of the bucket.
        from gcsfs.core import GCSFileSystem  # noqa: PLC0415

        return GCSFileSystem
    import fsspec  # noqa: PLC0415

    return fsspec.get_filesystem_class(scheme)


def _time_of(listed: dict[str, Any]) -> float:
    """Return when an object was written: S3 says `LastModified`, Google `updated` or `mtime`."""
    from datetime import datetime  # noqa: PLC0415

    for key in ("LastModified", "mtime", "updated", "created"):
        value = listed.get(key)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, str):
            with suppress(ValueError):
                return datetime.fromisoformat(value).timestamp()
        if isinstance(value, int | float):
            return float(value)
    return 0.0
