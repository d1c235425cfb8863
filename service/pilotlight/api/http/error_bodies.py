"""The bodies that an error can have, and which of them a path's clients read."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UNSET, Struct

from pilotlight.errors import ModelLoading, ServiceError, ShuttingDown, ThreadNotFound
from pilotlight.schema.errors import ErrorBody, ErrorDetail
from pilotlight.schema.messages.error import (
    MessagesError,
    MessagesErrorDetail,
    MessagesErrorReason,
    MessagesErrorType,
)

MESSAGES = "/v1/messages"
"""The path of Anthropic's API, and of what lies below it."""


class ErrorShape(Struct, frozen=True):
    """How errors are written for one kind of client."""

    wire_type: Any
    """The struct of a body."""
    body: Callable[[type[ServiceError], str, str | None, str | None], Any]
    """Writes an error of a class with its message, the field at fault and the request's id."""


def _openai(kind: type[ServiceError], message: str, param: str | None, _: str | None) -> ErrorBody:
    return ErrorBody(
        error=ErrorDetail(message=message, type=kind.type, param=param, code=kind.code)
    )


_ANTHROPIC_TYPES: dict[int, MessagesErrorType] = {
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}
"""What is neither Anthropic's `invalid_request_error` nor its `api_error`, by status."""


def _anthropic_type(kind: type[ServiceError]) -> MessagesErrorType:
    if issubclass(kind, ModelLoading | ShuttingDown):
        return "overloaded_error"  # Anthropic's type for a temporary lack of capacity
    own = kind.status >= 500  # noqa: PLR2004 - HTTP's first code of a server's own fault
    return _ANTHROPIC_TYPES.get(kind.status, "api_error" if own else "invalid_request_error")


def _anthropic(
    kind: type[ServiceError], message: str, param: str | None, request_id: str | None
) -> MessagesError:
    return MessagesError(
        error=MessagesErrorDetail(
            type=_anthropic_type(kind),
            message=message,
            param=param,
            code=kind.code,
            # The SDKs' threads then send the whole conversation again
            # (anthropic 2.13, lib/threads/_thread_state.py).
            details=MessagesErrorReason(error_code="thread_not_found")
            if issubclass(kind, ThreadNotFound)
            else UNSET,
        ),
        request_id=request_id,
    )


OPENAI = ErrorShape(ErrorBody, _openai)
ANTHROPIC = ErrorShape(MessagesError, _anthropic)


def asks_as_anthropic(headers: Mapping[str, str]) -> bool:
    """Return whether a request has the header that Anthropic's API demands of its clients."""
    return "anthropic-version" in headers


def shape_for(path: str, headers: Mapping[str, str]) -> ErrorShape:
    """Return the shape that the client of *path* expects that sent *headers*."""
    models = f"{path}/".removeprefix("/v1").startswith("/models/")
    return ANTHROPIC if models and asks_as_anthropic(headers) else shape_at(path)


def shape_at(path: str) -> ErrorShape:
    """Return the shape that the clients of *path* expect, whether it is served or not."""
    return ANTHROPIC if f"{path}/".startswith(f"{MESSAGES}/") else OPENAI
