"""The source of objects in S3 and Google Cloud Storage."""

from collections.abc import AsyncIterator
from typing import Any

from pilotlight.models.fetch.address import Address
from pilotlight.models.fetch.sources.failures import MappedFailures
from pilotlight.models.fetch.sources.source import Listing, RemoteFile, relative_name
from pilotlight.models.fetch.spans import cut

_PIECE = 4 * 2**20


class BucketSource:
    """An object, or the objects below a prefix, with s3fs or gcsfs.

    These libraries find the credentials and endpoints. Methods with an underscore are fsspec's
    documented coroutines (filesystem_spec.readthedocs.io, "Async").
    """

    checks_reads = False

    def __init__(self, address: Address) -> None:
        self._address = address
        self._files = _bucket(address.scheme)

    async def look(self) -> Listing:
        """List the objects."""
        with MappedFailures(self._address):
            found: list[dict[str, Any]] = []
            base = None
            for path in self._address.parts():
                key = self._files._strip_protocol(path)  # noqa: SLF001 - asynchronous fsspec
                self._files.invalidate_cache()
                info = await self._files._info(key)  # noqa: SLF001
                if info["type"] == "directory":
                    base = info["name"]
                    found += (await self._files._find(key, detail=True)).values()  # noqa: SLF001
                else:
                    found.append(info)
        files = [
            RemoteFile(
                relative_name(info["name"], base),
                info["name"],
                info["size"],
                str(info.get("ETag") or info.get("etag") or info.get("generation") or ""),
            )
            for info in found
            if info["type"] == "file" and not info["name"].endswith("/")
        ]
        return Listing(files, base is not None or self._address.is_split)

    async def read(self, file: RemoteFile, start: int, end: int) -> AsyncIterator[bytes]:
        """Read the range in small pieces: each is in memory as a whole."""
        for at, until in cut([(start, end)], _PIECE):
            with MappedFailures(self._address):
                piece = await self._files._cat_file(file.location, start=at, end=until)  # noqa: SLF001
            yield piece
            if len(piece) != until - at:
                return

    async def close(self) -> None:
        """Close the library's session."""
        session = getattr(self._files, "_s3", None) or getattr(self._files, "_session", None)
        if session is not None:
            await session.close()


def _bucket(scheme: str) -> Any:
    if scheme == "s3":
        from s3fs import S3FileSystem  # noqa: PLC0415

        return S3FileSystem(asynchronous=True, skip_instance_cache=True)
    # Not `gcsfs.GCSFileSystem`, which uses gRPC to find out the kind of the bucket.
    from gcsfs.core import GCSFileSystem  # noqa: PLC0415

    return GCSFileSystem(asynchronous=True, skip_instance_cache=True)
