"""The sources of a fetch: HTTP, the Hugging Face Hub, and buckets.

Only this module imports their libraries, when a source is opened. A source belongs to one event
loop and is closed on it. It raises `Interrupted`, which is retried, `FetchFailed`, or
`SourceChanged`.
"""

import asyncio
import logging
import string
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from msgspec import Struct
from msgspec.structs import replace

from pilotlight.models.fetch.address import Address
from pilotlight.models.fetch.failure import FetchFailed, Interrupted, SourceChanged
from pilotlight.models.fetch.spans import cut

if TYPE_CHECKING:
    import aiohttp

logger = logging.getLogger(__name__)

_CONNECT, _SILENCE = 20.0, 60.0
"""Timeouts in seconds for connecting, and between two pieces of a response."""
_PIECE = 4 * 2**20
_NO_CREDENTIALS = frozenset({"NoCredentialsError", "PartialCredentialsError"})
"""Class names of botocore, which is not imported here."""
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


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


def open_source(address: Address) -> Source:
    """Return the source of *address*; call it on the loop that uses it.

    Raises `FetchFailed` if its library is not installed.
    """
    kinds: dict[str, Callable[[Address], Source]] = {
        "https": HttpSource,
        "http": HttpSource,
        "hf": HubSource,
        "s3": BucketSource,
        "gs": BucketSource,
    }
    extra = {"s3": "s3", "gs": "gs"}.get(address.scheme, "pull")
    try:
        return kinds[address.scheme](address)
    except ImportError as error:
        raise FetchFailed(
            f"{address}: {error.name} is not installed: pip install 'pilotlight[{extra}]'",
            permanent=True,
        ) from None


# ── HTTP ────────────────────────────────────────────────────────────────────────────────────────


class HttpSource:
    """One file, or the parts of a split one, over HTTP.

    It uses aiohttp directly: fsspec's HTTP file system reports every failure of `info` as a missing
    file, and takes the whole file for a range if the server ignores `Range`.
    """

    checks_reads = True

    def __init__(self, address: Address, headers: Mapping[str, str] | None = None) -> None:
        import aiohttp  # noqa: PLC0415

        self._aiohttp = aiohttp
        self._address = address
        self._session = aiohttp.ClientSession(
            headers={"Accept-Encoding": "identity", "User-Agent": "pilotlight", **(headers or {})},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE),
            connector=aiohttp.TCPConnector(limit=0),
            auto_decompress=False,
            trust_env=True,
            read_bufsize=2**20,
            requote_redirect_url=False,  # as below
        )

    async def look(self) -> Listing:
        """Request the first byte of each file: URLs that are signed for GET refuse HEAD."""
        files = [await self._look_at(url) for url in self._address.parts()]
        return Listing(files, self._address.is_split)

    async def _look_at(self, url: str) -> RemoteFile:
        async with self._ask(url, 0, 1) as response:
            name = Address(self._address.scheme, url).last
            version = _version(response)
            sized = response.headers.get("Content-Range", "").rpartition("/")[2]
            if response.status == 206 and sized.isdecimal():  # noqa: PLR2004
                return RemoteFile(name, url, int(sized), version)
            if response.status == 200 and response.content_length is not None:  # noqa: PLR2004
                if response.headers.get("Content-Encoding", "identity") == "identity":
                    return RemoteFile(name, url, response.content_length, version, ranges=False)
            elif response.status == 416:  # noqa: PLR2004 - an empty file
                return RemoteFile(name, url, 0, version)
        raise FetchFailed(
            f"{self._address}: the server does not report the size of the file", permanent=True
        )

    async def read(self, file: RemoteFile, start: int, end: int) -> AsyncIterator[bytes]:
        """Request the range, and check that the response is that range of the same version."""
        async with self._ask(file.location, start, end, whole=not file.ranges) as response:
            if file.version and _version(response) != file.version:
                raise SourceChanged
            if file.ranges:
                unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
                first, _, size = rest.partition("/")
                if response.status != 206 or unit != "bytes":  # noqa: PLR2004
                    raise Interrupted("the server ignored the requested range")
                if not first.startswith(f"{start}-") or size not in (str(file.size), "*"):
                    raise SourceChanged
            elif response.status != 200 or response.content_length != file.size:  # noqa: PLR2004
                raise SourceChanged
            try:
                async for piece in response.content.iter_any():
                    yield piece
            except (self._aiohttp.ClientError, TimeoutError, OSError) as error:
                raise self._failure(error) from None

    @asynccontextmanager
    async def _ask(
        self, url: str, start: int, end: int, *, whole: bool = False
    ) -> AsyncIterator["aiohttp.ClientResponse"]:
        """Request a range, and raise for error responses."""
        import yarl  # noqa: PLC0415

        headers = {} if whole else {"Range": f"bytes={start}-{end - 1}"}
        try:
            # Quote only characters that no URL may contain: a signature covers the exact bytes.
            literal = yarl.URL(quote(url, safe=string.punctuation), encoded=True)
            response = await self._session.get(literal, headers=headers)
        except (self._aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise self._failure(error) from None
        try:
            _check(response, self._address)
            yield response
        finally:
            response.close()  # not `release`, which reads the rest of the response

    async def close(self) -> None:
        """Close the session and its connections."""
        await self._session.close()

    def _failure(self, error: Exception) -> Exception:
        """Map *error*, without its message: aiohttp's may contain the URL with its secrets."""
        if isinstance(error, TimeoutError):
            return Interrupted("the server did not respond in time")
        if isinstance(error, self._aiohttp.TooManyRedirects):
            return FetchFailed(f"{self._address}: too many redirects", permanent=True)
        if isinstance(error, self._aiohttp.InvalidURL):
            return FetchFailed(
                f"{self._address}: it redirects to an invalid address", permanent=True
            )
        if isinstance(error, self._aiohttp.ClientConnectorError):
            return Interrupted(f"cannot connect to {error.host}: {error.strerror or 'failed'}")
        return Interrupted(f"the connection was lost ({type(error).__name__})")


def _check(response: "aiohttp.ClientResponse", address: Address) -> None:
    if address.scheme == "https" and response.url.scheme != "https":
        raise FetchFailed(f"{address}: it redirects away from https://", permanent=True)
    if response.status in _TEMPORARY:
        raise Interrupted(f"the server answered {response.status}")
    if response.status >= 400 and response.status != 416:  # noqa: PLR2004 - see `_look`
        raise _refused(address, response.status)


def _refused(address: Address, status: int) -> FetchFailed:
    meaning = {401: "credentials are required", 403: "access is denied", 404: "no such file"}
    reason = f"{meaning.get(status, 'the server refused')} ({status})"
    if address.scheme == "hf" and status in (401, 403):
        reason += "; for a private or gated repository set HF_TOKEN"
    return FetchFailed(f"{address}: {reason}", permanent=True)


def _version(response: "aiohttp.ClientResponse") -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified") or ""


# ── Hugging Face Hub ────────────────────────────────────────────────────────────────────────────


class HubSource:
    """A file or folder of a repository on the Hub.

    huggingface_hub lists the files and resolves URLs, aiohttp reads: the library reads a range into
    memory as a whole, on a thread that cannot be cancelled.
    """

    checks_reads = False

    def __init__(self, address: Address) -> None:
        from huggingface_hub import HfFileSystem  # noqa: PLC0415
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # noqa: PLC0415 - documented
            build_hf_headers,
        )

        self._address = address
        self._hub = HfFileSystem(skip_instance_cache=True)
        self._http = HttpSource(address, build_hf_headers())

    async def look(self) -> Listing:
        """List the files; large ones have a sha256."""
        with _Failures(self._address):
            return await asyncio.to_thread(self._list)

    def _list(self) -> Listing:
        self._hub.invalidate_cache()
        found: list[dict[str, Any]] = []
        base = None
        for path in self._address.parts():
            info = self._hub.info(path)
            if info["type"] == "directory":
                base = info["name"]
                listed: Any = self._hub.find(path, detail=True)
                found += listed.values()
            else:
                found.append(info)
        files = [
            RemoteFile(
                _relative(info["name"], base),
                self._hub.url(info["name"]),
                info["size"],
                info.get("blob_id") or info.get("xet_hash") or "",
                sha256=info["lfs"]["sha256"] if info.get("lfs") else None,
            )
            for info in found
            if info["type"] == "file"
        ]
        return Listing(files, base is not None or self._address.is_split)

    def read(self, file: RemoteFile, start: int, end: int) -> AsyncIterator[bytes]:
        """Read from the storage behind the Hub, which has versions of its own."""
        return self._http.read(replace(file, version=""), start, end)

    async def close(self) -> None:
        """Close the connections for reading; those of the library are shared by the process."""
        await self._http.close()


# ── buckets ─────────────────────────────────────────────────────────────────────────────────────


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
        with _Failures(self._address):
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
                _relative(info["name"], base),
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
            with _Failures(self._address):
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


class _Failures:
    """Maps the errors of the libraries to those of a fetch.

    Their messages contain endpoints and keys: they are logged, and not sent to clients.
    """

    def __init__(self, address: Address) -> None:
        self._address = address

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, Interrupted | FetchFailed):
            return
        status = _status(error)
        if isinstance(error, FileNotFoundError) or status == 404:  # noqa: PLR2004
            reason = "no such file or folder, or no access to it"
            raise FetchFailed(f"{self._address}: {reason}", permanent=True) from None
        if type(error).__name__ in _NO_CREDENTIALS:
            raise _refused(self._address, 401) from None
        if isinstance(error, PermissionError) or status in (401, 403):
            raise _refused(self._address, status or 403) from None
        if isinstance(error, ValueError | NotImplementedError):
            raise FetchFailed(f"{self._address}: {error}", permanent=True) from None
        logger.info("%s: %s: %s", self._address, type(error).__name__, error)
        raise Interrupted(f"failed with {type(error).__name__}") from None


def _status(error: Exception) -> int | None:
    """Return the HTTP status of *error*, if it has one."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    status = str(status or getattr(error, "code", None))
    return int(status) if status.isdecimal() else None


def _relative(name: str, base: str | None) -> str:
    path = PurePosixPath(name)
    return path.name if base is None else path.relative_to(base).as_posix()
