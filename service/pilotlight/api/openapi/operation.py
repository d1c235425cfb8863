"""An endpoint's part of the OpenAPI document."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from pilotlight.api.http.error_bodies import OPENAI, ErrorShape


class Parameter(Struct, frozen=True, kw_only=True):
    """A path, query or header parameter; *schema* is JSON Schema."""

    name: str
    place: str
    description: str
    schema: Mapping[str, Any]
    required: bool = False
    example: Any = None


def model_query(description: str) -> Parameter:
    """Return the query parameter `model`."""
    return Parameter(
        name="model",
        place="query",
        description=description,
        schema={"type": "string", "minLength": 1},
        example="spark",
    )


class Content(Struct, frozen=True, kw_only=True):
    """A body: its wire type, or a *schema* for media types that are not JSON.

    A schema may refer to the components of *type* and of the types that it *mentions*.
    """

    type: Any = None
    media_type: str = "application/json"
    schema: Mapping[str, Any] | None = None
    mentions: Sequence[Any] = ()
    examples: Mapping[str, Any] = {}


class SuccessResponse(Struct, frozen=True, kw_only=True):
    """A successful response; error responses come from the operation's *errors*."""

    description: str
    content: Sequence[Content] = ()


class Operation(Struct, frozen=True, kw_only=True):
    """One operation. *errors* are classes of `pilotlight.errors`, written in *error_shape*."""

    id: str
    tag: str
    summary: str
    description: str = ""
    parameters: Sequence[Parameter] = ()
    body: Content | None = None
    responses: Mapping[int, SuccessResponse]
    errors: Sequence[Any] = ()
    error_shape: ErrorShape = OPENAI
    public: bool = False
    """Whether it needs no API key."""
    documented: bool = True
    """Whether it is in the document."""


class DeferredOperation(Struct, frozen=True):
    """The operation of an endpoint whose modules are imported later; no public one is deferred."""

    tag: str
    load: Callable[[], Operation]
    """Imports the modules."""


Declared: TypeAlias = Operation | DeferredOperation
