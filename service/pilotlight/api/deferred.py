"""Endpoints whose modules are imported with their first request, not with the application.

The first caller of a server that was scaled to zero waits for the imports, and needs one endpoint.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from pilotlight.api.endpoint import Endpoint
from pilotlight.api.http.asgi import ASGIApp
from pilotlight.api.http.request import Request
from pilotlight.api.once import Once
from pilotlight.api.openapi.operation import DeferredOperation, Operation

Make: TypeAlias = Callable[[], Sequence[Endpoint]]
"""Imports the modules of some endpoints, and returns them."""


def deferred(tag: str, *paths: str, make: Make) -> list[Endpoint]:
    """Return endpoints for POST at *paths*; *make* makes them all when one of them is called.

    *tag* is that of their operations.
    """
    made: Once[Mapping[str, Endpoint]] = Once(lambda: {one.path: one for one in make()})
    return [_deferred(path, tag, made) for path in paths]


def _deferred(path: str, tag: str, made: Once[Mapping[str, Endpoint]]) -> Endpoint:
    async def handle(request: Request) -> ASGIApp:
        return await (await made.wait())[path].handle(request)

    return Endpoint(path, DeferredOperation(tag, partial(_operation, made, path)), handle)


def _operation(made: Once[Mapping[str, Endpoint]], path: str) -> Operation:
    operation = made.get()[path].operation
    assert isinstance(operation, Operation)  # noqa: S101 - what is made is not deferred again
    return operation
