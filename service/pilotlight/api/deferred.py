"""Endpoints whose modules are imported with their first request, not with the application.

The first caller of a server that was scaled to zero waits for the imports, and needs one endpoint.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, TypeAlias, cast

from litestar import Litestar, Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from pilotlight.api.openapi.operation import DeferredOperation, Operation, operations

Make: TypeAlias = Callable[[], Sequence[HTTPRouteHandler]]
"""Imports the modules of some endpoints, and returns their handlers."""


def deferred(tag: str, *paths: str, make: Make) -> list[HTTPRouteHandler]:
    """Return handlers of POST at *paths* that *make* the endpoints when one of them is called.

    *tag* is that of their operations. The endpoints' own handlers take the request alone.
    """
    endpoints = _Endpoints(make)
    return [_handler(path, tag, endpoints) for path in paths]


def import_deferred(app: Litestar) -> None:
    """Import each endpoint of *app* that was not called yet."""
    for _ in operations(app):
        pass


class _Endpoints:
    """Endpoints that are made once, on any thread."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._made: Mapping[str, HTTPRouteHandler] | None = None
        self._making = Lock()

    def make(self) -> Mapping[str, HTTPRouteHandler]:
        """Return the handlers by path; the first call imports modules."""
        with self._making:
            if self._made is None:
                self._made = {path: one for one in self._make() for path in one.paths}
            return self._made

    async def at(self, path: str) -> HTTPRouteHandler:
        """Return the handler at *path*."""
        if self._made is None:  # on a thread, so that streams continue meanwhile
            await asyncio.to_thread(self.make)
        return self.make()[path]


def _handler(path: str, tag: str, endpoints: _Endpoints) -> HTTPRouteHandler:
    def operation() -> Operation:
        return cast("Operation", endpoints.make()[path].opt["operation"])

    @post(path, status_code=200, opt={"operation": DeferredOperation(tag, operation)})
    async def serve(request: Request[Any, Any, Any]) -> ASGIApp:
        endpoint = await endpoints.at(path)
        return cast("ASGIApp", await endpoint.fn(request))

    return serve
