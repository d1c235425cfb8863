"""Fetches images from HTTPS addresses, for a server that may reach more than its callers may.

Every address is resolved, checked and then connected to as an address, so that a second lookup
cannot give another one; each redirect is checked anew. httpx is imported with the first fetch.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias

from pilotlight.prompt.images.errors import FetchFailed
from pilotlight.prompt.images.public_address import is_public

if TYPE_CHECKING:
    import httpx

Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
"""Returns the IP addresses of a host; raises `OSError`."""

TIMEOUT = 10.0
"""Seconds for an image, from the lookup to the last byte, redirects included."""
MAX_REDIRECTS = 3
MAX_URL_LENGTH = 4096
"""Signed URLs have about 1500 characters."""
_HTTPS = 443
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LOOKUPS = 4
"""Lookups at the same time: a thread cannot be ended before its resolver gives up."""


def is_allowed(host: str, allowed: Sequence[str]) -> bool:
    """Return whether *host* is in *allowed*: names, `*.name` for its subdomains, `*` for all."""
    host = host.lower().rstrip(".")
    return any(
        pattern == "*"
        or host == pattern.lower()
        or (pattern.startswith("*.") and host.endswith(pattern[1:].lower()))
        for pattern in allowed
    )


class ImageFetcher:
    """Fetches images from the hosts in *allowed*."""

    def __init__(
        self,
        allowed: Sequence[str],
        *,
        resolve: Resolve | None = None,
        transport: "httpx.AsyncBaseTransport | None" = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """*resolve* and *transport* replace the network's, in tests."""
        self._allowed = allowed
        self._resolve = resolve or self._look_up
        self._transport = transport
        self._timeout = timeout
        self._lookups: ThreadPoolExecutor | None = None

    def check(self, url: str) -> None:
        """Raise `FetchFailed` for a URL that is not fetched whatever is there."""
        import httpx  # noqa: PLC0415

        if not self._allowed:
            raise FetchFailed("images are not fetched here; send a data URL (`--image-urls`)")
        if len(url) > MAX_URL_LENGTH:
            raise FetchFailed(f"expected a URL of at most {MAX_URL_LENGTH} characters")
        try:
            self._check(httpx.URL(url))
        except httpx.InvalidURL:
            raise FetchFailed("expected a URL: https://HOST/PATH") from None

    def _check(self, url: "httpx.URL") -> None:
        if url.scheme != "https" or not url.host:
            raise FetchFailed("expected an https:// URL, or a data URL")
        if url.userinfo:
            raise FetchFailed("expected a URL without a user name")
        if url.port not in (None, _HTTPS):
            raise FetchFailed("expected a URL without a port: images are fetched from port 443")
        if not is_allowed(_host(url), self._allowed):
            raise FetchFailed("images are not fetched from this host (`--image-urls`)")

    async def fetch(self, url: str, max_bytes: int) -> bytes:
        """Return the file at *url*; raises `FetchFailed`."""
        import httpx  # noqa: PLC0415

        self.check(url)
        try:
            async with asyncio.timeout(self._timeout):
                return await self._follow(httpx.URL(url), max_bytes)
        except TimeoutError:
            raise FetchFailed(f"no image within {self._timeout:g} seconds") from None
        except httpx.InvalidURL:
            raise FetchFailed("it redirects to what is no URL") from None
        except httpx.HTTPError:
            raise FetchFailed("the connection to the image's host failed") from None

    async def _follow(self, url: "httpx.URL", max_bytes: int) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            self._check(url)
            found = await self._get(url, max_bytes)
            if isinstance(found, bytes):
                return found
            url = found
        raise FetchFailed(f"more than {MAX_REDIRECTS} redirects")

    async def _get(self, url: "httpx.URL", max_bytes: int) -> "bytes | httpx.URL":
        """Return the file at *url*, or where it redirects to."""
        import httpx  # noqa: PLC0415

        request = httpx.Request(
            "GET",
            url.copy_with(host=await self._address(_host(url))),
            headers={
                "Host": url.netloc.decode("ascii"),
                "Accept": "image/*",
                "Accept-Encoding": "identity",
                "User-Agent": "pilotlight",
            },
            # TLS checks the certificate of the host, not of its address.
            extensions={
                "sni_hostname": _host(url),
                "timeout": httpx.Timeout(self._timeout).as_dict(),
            },
        )
        response = await self._connected().handle_async_request(request)
        try:
            if response.status_code in _REDIRECTS and "location" in response.headers:
                return url.join(response.headers["location"])
            return await _body(response, max_bytes)
        finally:
            await response.aclose()

    async def _address(self, host: str) -> str:
        """Return an address of *host*; raises `FetchFailed` unless all are public."""
        try:
            addresses = await self._resolve(host)
        except (OSError, UnicodeError):
            addresses = ()
        if not addresses:
            raise FetchFailed("the image's host is unknown")
        if not all(map(is_public, addresses)):
            raise FetchFailed("the address of the image's host is not public")
        return addresses[0]

    async def _look_up(self, host: str) -> Sequence[str]:
        if self._lookups is None:
            self._lookups = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="image host lookup")
        found = await asyncio.get_running_loop().run_in_executor(
            self._lookups, lambda: socket.getaddrinfo(host, _HTTPS, type=socket.SOCK_STREAM)
        )
        return [str(address[0]) for *_, address in found]

    def _connected(self) -> "httpx.AsyncBaseTransport":
        if self._transport is None:
            import httpx  # noqa: PLC0415

            # A transport and no client: that would keep cookies, and log every URL, which may be
            # signed. No proxy of the environment: it would look names up itself. Connections are
            # not kept, for the next image may be another caller's.
            self._transport = httpx.AsyncHTTPTransport(
                trust_env=False,
                limits=httpx.Limits(max_connections=16, max_keepalive_connections=0),
            )
        return self._transport

    async def close(self) -> None:
        """Close connections, and end the threads for lookups."""
        if self._transport is not None:
            await self._transport.aclose()
        if self._lookups is not None:
            self._lookups.shutdown(wait=False, cancel_futures=True)


def _host(url: "httpx.URL") -> str:
    """Return the host of *url* in ASCII, as it is looked up."""
    return url.raw_host.decode("ascii")


async def _body(response: "httpx.Response", max_bytes: int) -> bytes:
    if response.status_code != 200:  # noqa: PLR2004 - a part (206) is no image
        raise FetchFailed(f"the image's host answered with status {response.status_code}")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise FetchFailed("the image's host sent it compressed, which it was asked not to")
    too_large = FetchFailed(f"the image is larger than {max_bytes:,} bytes")
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise too_large
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)
