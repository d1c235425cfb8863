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
    """What Anthropic's SDKs act on by themselves."""

    error_code: Literal["thread_not_found"]


class MessagesErrorDetail(Response, kw_only=True):
    """Anthropic's type and message, and what this server knows beside them."""

    type: MessagesErrorType
    message: str
    param: str | None
    """The request's field at fault, such as `messages[2].content`."""
    code: str
    details: MessagesErrorReason | UnsetType = UNSET
    """Where the SDKs know what to do: on `thread_not_found` they send the whole conversation."""


class MessagesError(Response, kw_only=True, tag_field="type", tag="error"):
    """An error as Anthropic's clients expect it, as a body and as a stream's last event."""

    error: MessagesErrorDetail
    request_id: str | None
    """The same as in the header `request-id`; null outside of a request."""
