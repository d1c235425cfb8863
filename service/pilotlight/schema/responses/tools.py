"""Tools that a request for a response declares, in `tools` or in an item."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from pilotlight.schema.base import NonEmpty, Request
from pilotlight.schema.declared import DeclaredTool, SkippedTool
from pilotlight.schema.support import NO_EFFECT, OPENAI_VENDOR_TOOLS


class ResponseTool(DeclaredTool):
    """An item of `tools`."""

    __slots__ = ()
    skipped_types = OPENAI_VENDOR_TOOLS


class ResponseFunctionTool(Request, ResponseTool, kw_only=True):
    """A function that the model may call; *parameters* is a JSON Schema."""

    type: Literal["function"]
    name: NonEmpty
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    allowed_callers: Annotated[
        list[str] | None,
        Meta(description="A tool that the model may not call by itself (`direct`) is not shown."),
    ] = None
    defer_loading: Annotated[bool | None, NO_EFFECT] = None
    output_schema: Annotated[dict[str, Any] | None, NO_EFFECT] = None
    asynchronous: Annotated[bool | None, NO_EFFECT] = field(default=None, name="async")


class SkippedResponseTool(SkippedTool, ResponseTool):
    """A tool that is skipped."""


ResponseTool.offered, ResponseTool.skipped = ResponseFunctionTool, SkippedResponseTool
