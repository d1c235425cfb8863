"""Buckets, through obstore: a binding of Rust's object_store, which takes 20 ms to import.

A server that starts for a request has no time for more. object_store knows credentials by the
environment and by the platform's metadata, as containers have them; whatever else there is, a
profile of the AWS CLI or an emulator of Google's, is left to `fsspec_bucket`.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pilotlight_backend.prompt_cache.buffers import allocate
from pilotlight_backend.prompt_cache.entry import SUFFIX
from pilotlight_backend.prompt_cache.state_file import PREAMBLE, Buffer, Damaged, header_size
from pilotlight_backend.prompt_cache.storage import ABANDONED, Storage, StoredFile

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

LIBRARIES = {"gs": "gcsfs", "s3": "s3fs"}
"""What `fsspec_bucket` needs."""
MOST_TRANSFERS = 16
"""Headers that are read at a time."""
GUESS = 16_384
"""Bytes of an object that are asked for at first: the header of 4,000 tokens."""
_PIECE = 64 << 20
"""Bytes of an object that are read in one transfer, of which several run at a time: Amazon says to
expect 85 to 90 MB/s of one (docs.aws.amazon.com, "Performance design patterns for Amazon S3")."""
_LARGEST_PUT = 5 << 30
"""Bytes of one upload, by S3's limits."""

_CLIENT: "ClientConfig" = {
    "allow_http": True,  # an endpoint has to be given to be one without TLS
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=30),
    "timeout": timedelta(minutes=10),  # of a whole transfer; the default is 30 seconds
}
_RETRIES: "RetryConfig" = {
    # A request does not wait for long, and a failing bucket is left alone for a while.
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=1),
        "base": 2,
    },
}


def open_bucket(address: str) -> Storage:
    """Return the bucket at *address*, an URL.

    Raises `ImportError` where no library for it is installed, and `OSError`.
    """
    scheme, _, _ = address.partition("://")
    has_other = scheme not in LIBRARIES or find_spec(LIBRARIES[scheme]) is not None
    if is_known_to_obstore(address, os.environ, Path.home()) or not has_other:
        try:
            return Bucket.at(address)
        except (ImportError, OSError):  # credentials of a kind that it does not know
            if not has_other:
                raise
    from pilotlight_backend.prompt_cache.fsspec_bucket import FsspecBucket  # noqa: PLC0415

    return FsspecBucket(address)


def is_known_to_obstore(address: str, environment: Mapping[str, str], home: Path) -> bool:
    """Tell whether obstore finds what it needs for *address*."""
    if any(name.startswith("FSSPEC_") for name in environment):
        return False
    if not address.startswith(("gs://", "s3://")):
        return False
    if address.startswith("gs://"):
        # Emulators know Google's JSON API, and not the XML one that object_store uses.
        return "STORAGE_EMULATOR_HOST" not in environment
    has_place = not environment.keys().isdisjoint(
        ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
    )
    has_profile = "AWS_PROFILE" in environment or any(
        (home / ".aws" / name).exists() for name in ("credentials", "config")
    )
    return has_place and ("AWS_ACCESS_KEY_ID" in environment or not has_profile)


class Bucket:
    """The objects below a prefix of a bucket."""

    def __init__(self, store: "ObjectStore") -> None:
        self._store = store

    @classmethod
    def at(cls, address: str) -> "Bucket":
        """Open *address*; raises `ImportError` without obstore, and `OSError`."""
        from obstore.store import GCSStore, S3Store  # noqa: PLC0415 - most servers have no bucket

        with as_os_errors():
            if address.startswith("gs://"):
                return cls(
                    GCSStore.from_url(address, client_options=_CLIENT, retry_config=_RETRIES)
                )
            return cls(
                S3Store.from_url(
                    address,
                    # One at a time is deleted, by what everything that is like S3 has.
                    config={"disable_bulk_delete": True},
                    client_options=_CLIENT,
                    retry_config=_RETRIES,
                )
            )

    def files(self) -> list[StoredFile]:
        """Return every object."""
        with as_os_errors():
            return [
                StoredFile(
                    name=one["path"], size=one["size"], used=one["last_modified"].timestamp()
                )
                for listed in self._store.list()
                for one in listed
                if one["path"].endswith(SUFFIX) and "/" not in one["path"]
            ]

    def starts(self, files: Sequence[StoredFile]) -> Iterator[tuple[StoredFile, bytes]]:
        """Yield each object with its preamble and header, several read at a time."""
        for first in range(0, len(files), MOST_TRANSFERS):
            some = files[first : first + MOST_TRANSFERS]
            with as_os_errors():
                starts = asyncio.run(self._starts(some))
            yield from ((file, start) for file, start in zip(some, starts, strict=True) if start)

    async def _starts(self, files: Sequence[StoredFile]) -> list[bytes]:
        return await asyncio.gather(*(self._start(file) for file in files))

    async def _start(self, file: StoredFile) -> bytes:
        """Return the start of *file*; b"" where it is gone."""
        if not file.size:
            return b""
        try:
            start = await self._span(file.name, 0, min(GUESS, file.size))
            end = min(file.size, len(start) + missing(start))
            return start + (await self._span(file.name, len(start), end))
        except FileNotFoundError:
            return b""

    async def _span(self, name: str, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        return bytes(await self._store.get_range_async(name, start=start, end=end))

    def read(self, name: str) -> Buffer:
        """Return an object's bytes."""
        with as_os_errors():
            size = self._store.head(name)["size"]
            if size <= _PIECE:
                return memoryview(self._store.get(name).bytes())
            whole = allocate(size)
            asyncio.run(self._fill(name, whole))
            return whole

    async def _fill(self, name: str, whole: memoryview) -> None:
        """Read pieces at the same time: threads would be waited for when the process ends."""

        async def fill(start: int) -> None:
            end = min(start + _PIECE, len(whole))
            whole[start:end] = memoryview(
                await self._store.get_range_async(name, start=start, end=end)
            )

        await asyncio.gather(*(fill(start) for start in range(0, len(whole), _PIECE)))

    def write(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Write an object; it is there when all of it is.

        In one upload: what is left of one in parts, when its process is killed, is stored and paid
        for until a rule of the bucket deletes it.
        """
        size = sum(len(piece) for piece in pieces)
        with as_os_errors():
            self._store.put(
                name, list(pieces), use_multipart=size > _LARGEST_PUT, chunk_size=_PIECE
            )

    def touch(self, name: str) -> None:
        """Do nothing: to change an object's time is to write it anew."""

    def delete(self, name: str) -> None:
        """Delete an object; a no-op where it is gone."""
        try:
            with as_os_errors():
                self._store.delete(name)
        except FileNotFoundError:
            pass

    def sweep(self, age: float = ABANDONED) -> int:
        """Do nothing: buckets have no half-written objects."""
        del age
        return 0


def missing(start: bytes) -> int:
    """Return how many bytes of a file's header are behind its *start*."""
    try:
        return max(0, PREAMBLE.size + header_size(start) - len(start))
    except Damaged:
        return 0


@contextmanager
def as_os_errors() -> Iterator[None]:
    """Raise what a bucket's library raises as `OSError`: each has errors of its own.

    obstore's have several lines, of which the first one says it.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        said, _, _ = str(error).partition("\n")
        raise OSError(None, f"{type(error).__name__}: {said}") from error
