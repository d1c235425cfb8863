"""`/v1/stream`: resume or end a stream whose connection broke.

The path and the methods are llama-server's. It names streams by the client's `X-Conversation-Id`
and counts bytes; here the standard's `Last-Event-ID` names both the stream and the event.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

from litestar import Request, Response, delete
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from pilotlight.api.http.asgi import state_of
from pilotlight.api.http.auth import account_of
from pilotlight.api.http.handlers import get, scope_of
from pilotlight.api.http.replay import Replays
from pilotlight.api.http.resumable import ResumedResponse, nothing_to_close
from pilotlight.api.http.sse import EventSourceResponse
from pilotlight.api.openapi.operation import Content, Operation, Parameter, SuccessResponse
from pilotlight.config import Settings
from pilotlight.errors import InvalidRequest, StreamNotFound
from pilotlight.observability.request_context import note_resumed

_PATH = "/v1/stream"
_HEADER = "Last-Event-ID"
_QUERY = "last_event_id"
_NO_CONTENT = 204
_EXAMPLE = "6f1c0a5be2d94e7780c3b1a2d4f59e06:17"

_ID_SCHEMA = {"type": "string", "pattern": "^[0-9a-f]{32}:[0-9]{1,12}$"}
_PARAMETERS = [
    Parameter(
        name=_HEADER,
        place="header",
        description=(
            "The `id` of the last event that the client received; this header or the query"
            " parameter is required."
        ),
        schema=_ID_SCHEMA,
        example=_EXAMPLE,
    ),
    Parameter(
        name=_QUERY,
        place="query",
        description="The same, for clients that cannot set the header, which takes precedence.",
        schema=_ID_SCHEMA,
        example=_EXAMPLE,
    ),
]

RESUME = Operation(
    id="resumeStream",
    tag="streams",
    summary="Resume a stream",
    description=(
        "Sends the events that follow the last one received, then those still to come. The stream"
        " may be of any endpoint, and its server needs `stream_replay`. A connection that still"
        " reads the stream ends."
    ),
    parameters=_PARAMETERS,
    responses={
        200: SuccessResponse(
            description="The rest of the stream.",
            content=[Content(media_type="text/event-stream", schema={"type": "string"})],
        ),
        _NO_CONTENT: SuccessResponse(
            description="The stream has ended with that event; an `EventSource` stops."
        ),
    },
    errors=[InvalidRequest, StreamNotFound],
)
STOP = Operation(
    id="stopStream",
    tag="streams",
    summary="End a stream",
    description="Cancels the generation and forgets its events.",
    parameters=_PARAMETERS,
    responses={_NO_CONTENT: SuccessResponse(description="The stream has ended.")},
    errors=[InvalidRequest, StreamNotFound],
)


def streams_handlers(settings: Settings) -> Sequence[HTTPRouteHandler]:
    """Return the two endpoints."""

    # Litestar's own would list only the methods of the handler that is registered first (2.25).
    @HTTPRouteHandler(_PATH, http_method=HttpMethod.OPTIONS, status_code=_NO_CONTENT)
    async def list_methods() -> Response[None]:
        return Response(None, headers={"Allow": "DELETE, GET, HEAD, OPTIONS"})

    @get(_PATH, opt={"operation": RESUME})
    async def resume_stream(request: Request[Any, Any, Any]) -> ASGIApp:
        recording, number = _replays(request).find(
            account_of(scope_of(request)), _event_id(request)
        )
        if recording.ended and number + 1 == recording.buffer.end:
            # By this status an EventSource does not connect again (HTML, 9.2).
            ended = Response(None, status_code=_NO_CONTENT)
            return cast("ASGIApp", ended)  # Litestar takes either
        if request.method == HttpMethod.HEAD:  # the client that reads the stream keeps it
            return cast("ASGIApp", EventSourceResponse(_no_messages(), nothing_to_close))
        note_resumed()
        resumed = ResumedResponse(recording, number, settings.sse_ping_interval)
        return cast("ASGIApp", resumed)

    @delete(_PATH, status_code=_NO_CONTENT, opt={"operation": STOP})
    async def stop_stream(request: Request[Any, Any, Any]) -> None:
        _replays(request).stop(account_of(scope_of(request)), _event_id(request))

    return list_methods, resume_stream, stop_stream


async def _no_messages() -> AsyncGenerator[bytes]:
    empty: tuple[bytes, ...] = ()
    for message in empty:
        yield message


def _replays(request: Request[Any, Any, Any]) -> Replays:
    return state_of(scope_of(request)).replays


def _event_id(request: Request[Any, Any, Any]) -> str:
    given = request.headers.get(_HEADER) or request.query_params.get(_QUERY)
    if not given:
        raise InvalidRequest(
            f"{_HEADER}: expected a header with the id of the last event that was received",
            param=_HEADER,
        )
    return str(given)
