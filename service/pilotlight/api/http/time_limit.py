"""Time limits of a request: for its body, and until its response is complete."""

import asyncio

from pilotlight.api.http.asgi import ASGIApp, Message, Receive, Scope, Send
from pilotlight.api.http.errors import error_response
from pilotlight.errors import RequestTimeout, TimeLimitExceeded
from pilotlight.observability.request_context import current


class TimeLimit:
    """An ASGI application before *app* that ends requests at their time limit.

    One timer for each request: what it waits for is cancelled, as at a disconnect. A stream that
    has begun catches that and sends a last message.
    """

    def __init__(self, app: ASGIApp, *, whole: float, body: float) -> None:
        """Give a request *whole* seconds, and *body* of them to its body; 0 is any time."""
        self._app = app
        self._whole = whole or None
        self._body = body or None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = False

        async def send_noticed(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            async with asyncio.timeout(self._whole) as limit:
                if context := current():
                    context.limit, context.limit_seconds = limit, self._whole or 0.0
                await self._app(scope, _TimedBody(receive, self._body).receive, send_noticed)
        except TimeoutError:
            if not limit.expired():
                raise
            if not began:
                await error_response(scope, time_is_over())(scope, receive, send)


def time_is_over() -> TimeLimitExceeded:
    """Return the error of the current request when its time is over."""
    context = current()
    seconds = context.limit_seconds if context else 0.0
    return TimeLimitExceeded(f"the response was not complete within {seconds:g} s")


class _TimedBody:
    """Receives a request's body, for so long."""

    def __init__(self, receive: Receive, seconds: float | None) -> None:
        self._receive = receive
        self._seconds = seconds
        self._until = None if seconds is None else asyncio.get_running_loop().time() + seconds
        self._whole = False

    async def receive(self) -> Message:
        """Return the next message; raises `RequestTimeout` where the body does not end in time."""
        if self._whole or self._until is None:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until) as limit:
                message = await self._receive()
        except TimeoutError:
            if not limit.expired():
                raise
            raise RequestTimeout(f"the body did not arrive within {self._seconds:g} s") from None
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message
