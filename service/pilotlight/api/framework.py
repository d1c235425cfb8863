"""Litestar's part of the application: the routes, and its errors as ours.

It is imported with the first request to one of its handlers, or once the server has settled.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from litestar import Litestar, Request, Response
from litestar.enums import HttpMethod
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp

from pilotlight.api.endpoint import Endpoint
from pilotlight.api.http.asgi import state_of
from pilotlight.api.http.errors import error_response
from pilotlight.api.http.handlers import scope_of
from pilotlight.api.openapi.operation import Declared, DeferredOperation, Operation
from pilotlight.errors import InvalidRequest, MethodNotAllowed, PathNotFound, RequestTooLarge

_SERVER_ERRORS = 500


def litestar_application(
    handlers: Sequence[HTTPRouteHandler], endpoints: Iterable[Endpoint], *, max_request_bytes: int
) -> Litestar:
    """Return the application with *handlers*, and routes to *endpoints*.

    Requests reach an endpoint without it (`Router`). By its route, Litestar answers OPTIONS and
    other methods.
    """
    return Litestar(
        route_handlers=[*handlers, *map(_route_to, endpoints)],
        exception_handlers={Exception: _handle_error},
        request_max_body_size=max_request_bytes,
        openapi_config=None,
        logging_config=None,
    )


def _route_to(endpoint: Endpoint) -> HTTPRouteHandler:
    @HTTPRouteHandler(
        endpoint.path,
        http_method=[HttpMethod(method) for method in endpoint.methods],
        status_code=200,
        opt={"operation": endpoint.operation},
    )
    async def serve() -> ASGIApp:
        return cast("ASGIApp", endpoint)

    return serve


def _handle_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Return the response to *request* for *error*; Litestar's only exception handler."""
    response = error_response(scope_of(request), _translated(error, request))
    return Response(
        response.content,
        status_code=response.status,
        headers=dict(response.headers),
        media_type=response.media_type,
    )


def _translated(error: Exception, request: Request[Any, Any, Any]) -> Exception:
    """Return Litestar's *error* as a `ServiceError`, and any other one as it is."""
    match error:
        case NotFoundException():
            return PathNotFound(_nowhere(request))
        case MethodNotAllowedException():
            message = f"{request.method} is not allowed at {request.url.path}"
            allowed = (error.headers or {}).get("allow", "")
            return MethodNotAllowed(message, allow=", ".join(sorted(allowed.split(", "))))
        case RequestEntityTooLarge():
            return RequestTooLarge("the body is larger than this server accepts")
        case HTTPException() if error.status_code < _SERVER_ERRORS:
            return InvalidRequest(error.detail)
        case _:
            return error


def _nowhere(request: Request[Any, Any, Any]) -> str:
    """Return the message of a 404, with a suggestion."""
    path = request.url.path
    meant = state_of(scope_of(request)).paths.meant_by(path)
    return f"no endpoint at {path}" + (f"; did you mean {meant}?" if meant else "")


# ── what the routes declare ─────────────────────────────────────────────────────────────────────


def templates(app: Litestar) -> list[str]:
    """Return the paths of *app*, parameters written as `{name:type}`."""
    return [
        _spelled(route, lambda part: part.full)
        for route in app.routes
        if isinstance(route, HTTPRoute)
    ]


def declared(app: Litestar) -> Iterable[tuple[str, str, Declared]]:
    """Yield path, method and operation of each route; raises `LookupError` without an operation."""
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
                operation = handler.opt.get("operation")
                if operation is None:
                    raise LookupError(f"{method} {route.path} has no operation")
                yield _spelled(route, lambda part: part.name), method.lower(), operation


def operations(app: Litestar) -> Iterable[tuple[str, str, Operation]]:
    """Yield what `declared` does, with every endpoint imported."""
    for path, method, operation in declared(app):
        yield (
            path,
            method,
            operation.load() if isinstance(operation, DeferredOperation) else operation,
        )


def import_deferred(app: Litestar) -> None:
    """Import each endpoint of *app* that was not called yet."""
    for _ in operations(app):
        pass


def _spelled(route: HTTPRoute, parameter: Callable[[Any], str]) -> str:
    parts = (
        part if isinstance(part, str) else "{" + parameter(part) + "}"
        for part in route.path_components
    )
    return "/" + "/".join(parts)
