"""Cross-origin requests: which pages of other origins may read responses (Fetch, 3.3: CORS).

Credentials are never allowed. A page's own script sends its key in a header; what a browser adds by
itself, such as the cookie of a proxy that signs users in, is not lent to pages of other origins.
"""

import re
from collections.abc import Iterable, Mapping

from pilotlight.api.http.asgi import ASGIApp, Message, Receive, Scope, Send
from pilotlight.api.http.sse import Headers

ANY = "*"
EXPOSED = (
    "Retry-After",
    "retry-after-ms",
    "x-should-retry",
    "x-request-id",
    "request-id",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "Server-Timing",
    "Accept-Encoding",
    "Allow",
    "WWW-Authenticate",
)
"""Headers that scripts may read, beyond the safelisted ones."""
_METHODS = b"GET, HEAD, POST, DELETE, OPTIONS"
_MAX_AGE = b"7200"
"""Seconds that a browser may cache a preflight; Chromium's maximum."""
_PREFLIGHT_VARIES = (
    b"Origin, Access-Control-Request-Headers, Access-Control-Request-Private-Network"
)
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, \t-]{1,4096}")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Cors:
    """An ASGI application before *app* that lets pages of other origins read its responses.

    It is before the guard: a preflight has no key, and to a script that cannot read a 401 the
    server seems down. Every preflight of an origin gets the same response, which does not reveal
    the paths that exist.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        """Allow *origins*, or all where one of them is `*`."""
        self._app = app
        named = {_normalised(one) for one in origins}
        self._any = ANY in named
        self._named = frozenset(one.encode() for one in named - {ANY})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a preflight; add the headers to the responses of other requests."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = dict(scope["headers"])
        origin = asked.get(b"origin", b"")
        if _is_preflight(scope["method"], asked) and (self._any or self._names(origin)):
            headers = self._preflight(origin, asked)
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return

        async def send_readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), *self._headers(origin)]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_readable)

    def _names(self, origin: bytes) -> bool:
        return origin.lower() in self._named

    def _headers(self, origin: bytes) -> Headers:
        """Return the headers of a response to *origin*, which is empty without a page."""
        exposed = (b"access-control-expose-headers", ", ".join(EXPOSED).encode())
        if self._any:
            return ((b"access-control-allow-origin", b"*"), exposed)
        vary = (b"vary", b"Origin")  # a cache must not give one origin's response to another
        if not self._names(origin):
            return (vary,)
        return ((b"access-control-allow-origin", origin), exposed, vary)

    def _preflight(self, origin: bytes, asked: Mapping[bytes, bytes]) -> Headers:
        """Return the headers of a response to a preflight."""
        headers = [
            (b"access-control-allow-origin", b"*" if self._any else origin),
            (b"access-control-allow-methods", _METHODS),
        ]
        # Whatever is asked for: the SDKs send a dozen headers of their own, `*` does not stand for
        # Authorization, and none of them does more than a request without a browser can.
        wanted = asked.get(b"access-control-request-headers", b"")
        if _HEADER_NAMES.fullmatch(wanted):
            headers.append((b"access-control-allow-headers", wanted))
        # A page of the Internet may call a server in a private network (WICG, Private Network
        # Access) where its origin is named: `*` says that every page may read, not that.
        private = asked.get(b"access-control-request-private-network") == b"true"
        if private and self._names(origin):
            headers.append((b"access-control-allow-private-network", b"true"))
        return [*headers, (b"access-control-max-age", _MAX_AGE), (b"vary", _PREFLIGHT_VARIES)]


def _is_preflight(method: str, headers: Mapping[bytes, bytes]) -> bool:
    return method == "OPTIONS" and {b"origin", b"access-control-request-method"} <= headers.keys()


def _normalised(origin: str) -> str:
    """Return *origin* as browsers send it: in lower case, without its scheme's own port."""
    scheme, _, authority = origin.lower().partition("://")
    if not authority:
        return origin
    return f"{scheme}://{authority.removesuffix(_DEFAULT_PORTS.get(scheme) or ' ')}"
