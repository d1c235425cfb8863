"""The source of files at `https://`."""

import string
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from pilotlight.models.fetch.address import Address
from pilotlight.models.fetch.failure import FetchFailed, Interrupted, SourceChanged
from pilotlight.models.fetch.sources.failures import refused
from pilotlight.models.fetch.sources.source import Listing, RemoteFile

if TYPE_CHECKING:
    import aiohttp

_CONNECT, _SILENCE = 20.0, 60.0
"""Timeouts in seconds for connecting, and between two pieces of a response."""
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


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
        raise refused(address, response.status)


def _version(response: "aiohttp.ClientResponse") -> str:
    return response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
