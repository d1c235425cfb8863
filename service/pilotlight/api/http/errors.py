"""The exception handler: every error becomes a response here."""

import logging
import math
from typing import Any

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    MethodNotAllowedException,
    NotFoundException,
)
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from pilotlight.api.http.disconnect import ClientDisconnected
from pilotlight.api.http.error_bodies import OPENAI, ErrorShape, shape_for
from pilotlight.api.http.paths import Paths
from pilotlight.errors import (
    InferenceError,
    InvalidRequest,
    MethodNotAllowed,
    PathNotFound,
    RequestTooLarge,
    ServiceError,
)
from pilotlight.observability.request_context import current, note_error

logger = logging.getLogger(__name__)

_SERVER_ERRORS = 500

_encoder = msgspec.json.Encoder()


def error_body(error: ServiceError, shape: ErrorShape = OPENAI) -> Any:
    """Return the body of *error* in *shape*."""
    context = current()
    return shape.body(type(error), error.message, error.param, context.id if context else None)


def error_headers(error: ServiceError, max_retry_after: float = math.inf) -> dict[str, str]:
    """Return the headers of *error*.

    `retry-after-ms` is read first by the SDKs and `Retry-After` by everyone else; both are sent,
    the second rounded up to whole seconds, neither over *max_retry_after*. `x-should-retry`
    overrules the SDKs' own judgement.
    """
    headers = {}
    if error.retry_after is not None:
        seconds = min(error.retry_after, max_retry_after)
        headers["Retry-After"] = str(math.ceil(seconds))
        headers["retry-after-ms"] = str(math.ceil(seconds * 1000))
    if error.should_retry is not None:
        headers["x-should-retry"] = "true" if error.should_retry else "false"
    if error.accept_encoding is not None:
        headers["Accept-Encoding"] = error.accept_encoding
    if error.allow is not None:
        headers["Allow"] = error.allow
    if error.challenge is not None:
        headers["WWW-Authenticate"] = error.challenge
    if error.closes:
        headers["Connection"] = "close"
    return headers


def handle_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Return the response to *request* for *error*; the application's only exception handler."""
    known = as_service_error(error, request)
    if not _is_hang_up(error):
        note_error(known.code)
    return Response(
        _encoder.encode(error_body(known, shape_for(request.url.path, request.headers))),
        status_code=known.status,
        headers=error_headers(known, request.app.state.get("max_retry_after", math.inf)),
        media_type=MediaType.JSON,
    )


def as_service_error(error: Exception, request: Request[Any, Any, Any]) -> ServiceError:
    """Return *error* as a `ServiceError`; an unexpected one is logged, and hidden from clients."""
    if isinstance(error, ServiceError):
        return error
    if _is_hang_up(error):
        return InvalidRequest("the client disconnected")  # no client reads it
    if isinstance(error, HTTPException) and error.status_code < _SERVER_ERRORS:
        return _refusal(error, request)
    route = request.scope.get("path_template", "a path that is not served")
    logger.error("%s %s failed", request.method, route, exc_info=error)
    return InferenceError("internal error; the server's log has the cause")


def _is_hang_up(error: Exception) -> bool:
    """Return whether *error* is a disconnect, which Litestar raises as a 500."""
    context = current()
    gone = (
        isinstance(error, InternalServerException) and context is not None and context.client_gone
    )
    return gone or isinstance(error, ClientDisconnected)


def _refusal(error: HTTPException, request: Request[Any, Any, Any]) -> ServiceError:
    """Return Litestar's *error* as a `ServiceError`."""
    match error:
        case NotFoundException():
            return PathNotFound(_nowhere(request))
        case MethodNotAllowedException():
            message = f"{request.method} is not allowed at {request.url.path}"
            allowed = (error.headers or {}).get("allow", "")
            return MethodNotAllowed(message, allow=", ".join(sorted(allowed.split(", "))))
        case RequestEntityTooLarge():
            return RequestTooLarge("the body is larger than this server accepts")
        case _:
            return InvalidRequest(error.detail)


def _nowhere(request: Request[Any, Any, Any]) -> str:
    """Return the message of a 404, with a suggestion."""
    path = request.url.path
    paths: Paths | None = request.app.state.get("paths")
    meant = None if paths is None else paths.meant_by(path)
    return f"no endpoint at {path}" + (f"; did you mean {meant}?" if meant else "")
