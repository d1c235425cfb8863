"""Errors as Anthropic's clients read them."""

from typing import Literal, TypeAlias

from msgspec import UNSET, UnsetType

from pilotlight.schema.base import Response

MessagesErrorType: TypeAlias = Literal[
    "invalid_request_error",
    "authentication_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "api_error",
    "timeout_error",
    "overloaded_error",
]


class MessagesErrorReason(Response, kw_only=True):
    """A reason that Anthropic's SDKs act on."""

    error_code: Literal["thread_not_found"]


class MessagesErrorDetail(Response, kw_only=True):
    """Anthropic's type and message, and this server's own fields."""

    type: MessagesErrorType
    message: str
    param: str | None
    """The JSON path of the request's wrong field, such as `messages[2].content`."""
    code: str
    details: MessagesErrorReason | UnsetType = UNSET
    """On `thread_not_found` the SDKs send the whole conversation."""


class MessagesError(Response, kw_only=True, tag_field="type", tag="error"):
    """An error as Anthropic's clients expect it, as a body and as a stream's last event."""

    error: MessagesErrorDetail
    request_id: str | None
    """The same as in the header `request-id`; null outside of a request."""
