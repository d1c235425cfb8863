"""What Litestar's handlers share."""

from typing import Any, cast

from litestar import Request
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from pilotlight.api.http.asgi import Scope


def get(path: str, *, opt: dict[str, Any]) -> HTTPRouteHandler:
    """Return the decorator of a handler for GET and HEAD at *path*.

    HEAD has the headers of GET, `Content-Length` included (RFC 9110, 9.3.2); uvicorn sends no body
    for it. Litestar's own `get` returns a 405 for HEAD, and its `head` may return nothing.
    """
    return HTTPRouteHandler(
        path, http_method=(HttpMethod.GET, HttpMethod.HEAD), status_code=200, opt=opt
    )


def scope_of(request: Request[Any, Any, Any]) -> Scope:
    """Return the scope of *request*, which Litestar types by itself."""
    return cast("Scope", request.scope)
