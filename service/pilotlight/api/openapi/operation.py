"""An endpoint's part of the OpenAPI document, which its handler has in its `opt`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

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
                yield _openapi_path(route), method.lower(), operation


def operations(app: Litestar) -> Iterable[tuple[str, str, Operation]]:
    """Yield what `declared` does, with every endpoint imported."""
    for path, method, operation in declared(app):
        yield (
            path,
            method,
            operation.load() if isinstance(operation, DeferredOperation) else operation,
        )


def _openapi_path(route: HTTPRoute) -> str:
    parts = (
        part if isinstance(part, str) else "{" + part.name + "}" for part in route.path_components
    )
    return "/" + "/".join(parts)
