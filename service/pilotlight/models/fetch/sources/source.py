"""What a source of a fetch is: the files of one address, and ranges of their bytes.

A source belongs to one event loop and is closed on it. It raises `Interrupted`, which is retried,
`FetchFailed`, or `SourceChanged`.
"""

from collections.abc import AsyncIterator, Sequence
from pathlib import PurePosixPath
from typing import Protocol

from msgspec import Struct


class RemoteFile(Struct, frozen=True):
    """A file of a source."""

    name: str
    """Its path in the fetched folder, with `/`; the name of a single file."""
    location: str
    """Its URL or key. It may contain secrets."""
    size: int
    version: str = ""
    """Changes with the content; empty if the source has no versions."""
    sha256: str | None = None
    ranges: bool = True
    """Whether ranges of it can be read."""


class Listing(Struct, frozen=True):
    """The files of an address."""

    files: Sequence[RemoteFile]
    is_folder: bool
    """Whether the files are a folder, even of one file, or a single file."""


class Source(Protocol):
    """Files of one address."""

    checks_reads: bool
    """Whether reads raise `SourceChanged`; else a second listing detects changes."""

    async def look(self) -> Listing:
        """Return the files of the address."""
        ...

    def read(self, file: RemoteFile, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes from *start* to before *end*; fewer if the response ends early."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


def relative_name(name: str, base: str | None) -> str:
    """Return the name of a file below *base*, or without the folder if there is no base."""
    path = PurePosixPath(name)
    return path.name if base is None else path.relative_to(base).as_posix()
