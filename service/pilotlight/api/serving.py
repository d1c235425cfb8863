"""What handlers have in common: reading requests, holding them, and serving generations."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Generic, TypeAlias, TypeVar

from msgspec import Struct

from pilotlight.api.endpoint import Endpoint, endpoint
from pilotlight.api.http.asgi import ASGIApp, state_of
from pilotlight.api.http.auth import account_of
from pilotlight.api.http.bodies import BodyDecoder
from pilotlight.api.http.disconnect import unless_disconnected
from pilotlight.api.http.keep_alive import KeepAlive, ShownLoading
from pilotlight.api.http.request import Request
from pilotlight.api.http.stream import GenerationStream, StreamProjection
from pilotlight.api.http.whole_response import json_response
from pilotlight.api.openapi.operation import Operation
from pilotlight.api.params.amounts import Taken, check_amounts
from pilotlight.api.params.hold import hold_of
from pilotlight.config import Settings
from pilotlight.generation import Events, GenerationParams, Generator
from pilotlight.models.loaded import Hold
from pilotlight.observability.timing import Phases

T = TypeVar("T")

Fold: TypeAlias = Callable[[AsyncGenerator[Events]], Awaitable[tuple[Any, Phases | None]]]
"""Reads a generation to its end; returns the body of the response, and the timing of its start."""


class RequestReader(Generic[T]):
    """Reads and checks the requests of one endpoint."""

    def __init__(
        self, kind: type[T], settings: Settings, amounts: Callable[[T], Taken] | None = None
    ) -> None:
        """*amounts* yields what a request has that *settings* limit."""
        self._decoder = BodyDecoder(kind)
        self._settings = settings
        self._amounts = amounts

    async def read(self, request: Request) -> T:
        """Return the body of *request*; raises a `ServiceError` for one that cannot be served."""
        ignore_unknown = self._settings.unknown_fields == "ignore"
        asked = await self._decoder.read(request, ignore_unknown=ignore_unknown)
        if self._amounts is not None:
            check_amounts(self._amounts(asked), self._settings)
        return asked


class GenerationPlan(Struct, frozen=True):
    """What an endpoint makes of one request."""

    params: GenerationParams
    fold: Fold
    stream: StreamProjection | None
    """Encodes a streamed response; without it the response is whole."""


def generation_handler(
    path: str,
    operation: Operation,
    kind: type[T],
    plan: Callable[[T], GenerationPlan],
    amounts: Callable[[T], Taken],
    *,
    generator: Generator,
    settings: Settings,
) -> Endpoint:
    """Return the endpoint for POST at *path* that generates by the *plan* of each request.

    *amounts* yields what a request has that *settings* limit.
    """
    reader = RequestReader(kind, settings, amounts)

    @endpoint(path, operation)
    async def generate(request: Request) -> ASGIApp:
        asked = await reader.read(request)
        return await serve_generation(request, plan(asked), generator, settings)

    return generate


async def serve_generation(
    request: Request,
    plan: GenerationPlan,
    generator: Generator,
    settings: Settings,
) -> ASGIApp:
    """Generate by *plan*, and return the response, whole or as a stream."""
    stream = plan.stream
    generation = generator.generate(
        plan.params,
        hold=hold_for(request.headers, settings, shows_loading=bool(stream and stream.loading)),
        caller=account_of(request.scope),
        announces=bool(stream and settings.sse_ping_interval),
    )
    if stream is None:
        body, timing = await unless_disconnected(request.receive, plan.fold(generation))
        return json_response(body, timing)
    loading = None
    if stream.loading is not None:
        loading = ShownLoading(lambda: generator.status(plan.params.model), stream.loading)
    keep_alive = KeepAlive(stream.ping, settings.sse_ping_interval, loading)
    replays = state_of(request.scope).replays
    return await GenerationStream(request, generation, stream, keep_alive, replays).response()


def hold_for(
    headers: Mapping[str, str], settings: Settings, *, shows_loading: bool = False
) -> Hold:
    """Return how long a request with *headers* waits for a model that is loading."""
    return hold_of(
        headers,
        default=settings.hold,
        to_the_end=settings.platform == "cloud_run",
        shows_loading=shows_loading,
    )
