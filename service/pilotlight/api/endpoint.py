"""Endpoints as ASGI applications, and the router that finds them without a framework."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeAlias

from pilotlight.api.http.asgi import ASGIApp, Message, Receive, Scope, Send, normal_path
from pilotlight.api.http.errors import error_response
from pilotlight.api.http.request import Request
from pilotlight.api.openapi.operation import Declared

Handle: TypeAlias = Callable[[Request], Awaitable[ASGIApp]]
"""Returns the response to a request, or raises its error."""

POST = ("POST",)
GET = ("GET", "HEAD")
"""HEAD has the headers of GET, `Content-Length` included (RFC 9110, 9.3.2)."""


class Endpoint:
    """An ASGI application that serves *methods* at *path*."""

    def __init__(
        self, path: str, operation: Declared, handle: Handle, methods: tuple[str, ...] = POST
    ) -> None:
        self.path = path
        self.operation = operation
        self.handle = handle
        self.methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request; an error after the response has begun is raised."""
        began = False

        async def send_noticed(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        scope["path_template"], scope["operation"] = self.path, self.operation
        try:
            response = await self.handle(Request(scope, receive))
            await response(scope, receive, send_noticed)
        except Exception as error:
            if began:
                raise
            await error_response(scope, error)(scope, receive, send)


def endpoint(
    path: str, operation: Declared, methods: tuple[str, ...] = POST
) -> Callable[[Handle], Endpoint]:
    """Return the decorator of a function that serves *methods* at *path*."""
    return lambda handle: Endpoint(path, operation, handle, methods)


class Router:
    """An ASGI application that serves *endpoints*, and passes other requests on to *rest*."""

    def __init__(self, endpoints: Iterable[Endpoint], rest: ASGIApp) -> None:
        self._at: Mapping[tuple[str, str], Endpoint] = {
            (one.path, method): one for one in endpoints for method in one.methods
        }
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        asked = (normal_path(scope["path"]), str(scope.get("method")))
        await self._at.get(asked, self._rest)(scope, receive, send)
