"""What the OpenAPI document says of an endpoint; stands beside its handler, in its `opt`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from litestar import Litestar
from litestar.routes import HTTPRoute
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


class Content(Struct, frozen=True, kw_only=True):
    """A body: its wire type, or for media that are no JSON a schema of their own.

    Such a schema may refer to the components of *type*, and of those that it *mentions* beside it.
    """

    type: Any = None
    media_type: str = "application/json"
    schema: Mapping[str, Any] | None = None
    mentions: Sequence[Any] = ()
    examples: Mapping[str, Any] = {}


class SuccessResponse(Struct, frozen=True, kw_only=True):
    """A successful response; errors come from the operation's list of them."""

    description: str
    content: Sequence[Content] = ()


class Operation(Struct, frozen=True, kw_only=True):
    """One operation. *errors* are classes of `pilotlight.errors`, told in *error_shape*."""

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
    """Whether everybody may call it, whatever keys there are."""
    documented: bool = True
    """Whether the document lists it."""


def operations(app: Litestar) -> Iterable[tuple[str, str, Operation]]:
    """Yield path, method and operation of all that *app* serves; raises `LookupError` for none."""
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler in route.route_handlers:
            for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
                operation = handler.opt.get("operation")
                if operation is None:
                    raise LookupError(f"{method} {route.path} has no operation")
                yield _openapi_path(route), method.lower(), operation


def _openapi_path(route: HTTPRoute) -> str:
    parts = (
        part if isinstance(part, str) else "{" + part.name + "}" for part in route.path_components
    )
    return "/" + "/".join(parts)
