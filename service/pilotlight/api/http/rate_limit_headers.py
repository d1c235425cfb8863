"""OpenAI's headers of a caller's rate limits."""

from pilotlight.api.http.asgi import ASGIApp, Message, Receive, Scope, Send
from pilotlight.api.http.auth import caller_of
from pilotlight.scheduling.rate_limits import RateLimiter

DURATION = r"^([0-9]+m)?[0-9]+(\.[0-9]+)?s$|^[0-9]+ms$"
"""What `duration` writes, as a pattern."""


class RateLimitHeaders:
    """An ASGI application before *app* that adds `x-ratelimit-…` to responses of POST requests."""

    def __init__(self, app: ASGIApp, limiter: RateLimiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; only POST requests count."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        caller = caller_of(scope).account

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers(caller)]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _headers(self, caller: str) -> list[tuple[bytes, bytes]]:
        return [
            (f"x-ratelimit-{what}-{counted}".encode(), value.encode())
            for counted, allowance in self._limiter.allowances(caller).items()
            for what, value in (
                ("limit", str(allowance.limit)),
                ("remaining", str(allowance.remaining)),
                ("reset", duration(allowance.reset)),
            )
        ]


def duration(seconds: float) -> str:
    """Return *seconds* as OpenAI writes them, which is as Go does.

    >>> duration(0.02), duration(1.5), duration(90)
    ('20ms', '1.5s', '1m30s')
    """
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s"
