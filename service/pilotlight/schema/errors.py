"""The body of every error."""

from pilotlight.schema.base import Response


class ErrorDetail(Response, kw_only=True):
    """All four fields are always present."""

    message: str
    type: str
    param: str | None
    """The JSON path of the request's wrong field, such as `messages[2].role`."""
    code: str


class ErrorBody(Response, kw_only=True):
    """An error as OpenAI's clients expect it."""

    error: ErrorDetail
