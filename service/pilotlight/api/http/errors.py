"""Errors as responses: every one becomes its response here."""

import logging
import math
from typing import Any

import msgspec

from pilotlight.api.http.asgi import Scope, state_of
from pilotlight.api.http.disconnect import ClientDisconnected
from pilotlight.api.http.error_bodies import OPENAI, ErrorShape, shape_for
from pilotlight.api.http.request import Headers
from pilotlight.api.http.response import Response
from pilotlight.errors import InferenceError, InvalidRequest, ServiceError
from pilotlight.observability.request_context import current, note_error

logger = logging.getLogger(__name__)

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


def error_response(scope: Scope, error: Exception) -> Response:
    """Return the response for *error* to the request of *scope*."""
    known = as_service_error(error, scope)
    if not isinstance(error, ClientDisconnected):
        note_error(known.code)
    return Response(
        _encoder.encode(error_body(known, shape_for(scope["path"], Headers(scope)))),
        status=known.status,
        headers=error_headers(known, state_of(scope).max_retry_after),
    )


def as_service_error(error: Exception, scope: Scope) -> ServiceError:
    """Return *error* as a `ServiceError`; an unexpected one is logged, and hidden from clients."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, ClientDisconnected):
        return InvalidRequest("the client disconnected")  # no client reads it
    route = scope.get("path_template", "a path that is not served")
    logger.error("%s %s failed", scope["method"], route, exc_info=error)
    return InferenceError("internal error; the server's log has the cause")
