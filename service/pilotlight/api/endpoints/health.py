"""Probes: `/livez`, `/readyz`, `/health`. They read memory only, and respond during any load."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import msgspec
from litestar import MediaType, Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from pilotlight.api.http.get import get
from pilotlight.api.openapi.operation import Content, Operation, Parameter, SuccessResponse
from pilotlight.errors import InvalidRequest, ModelNotFound
from pilotlight.schema.health import Live, Readiness

_encoder = msgspec.json.Encoder()

_HANGING = {"id": "spark", "during": "step", "memory_bytes": 641_000_000}
_READY = {"status": "ready", "models": [], "hanging": []}
_LOADING = {
    "status": "loading",
    "models": [
        {"id": "spark", "state": "loading", "progress": 0.42, "retry_after": 3.5, "error": None}
    ],
    "hanging": [],
}


def _readiness(operation_id: str, summary: str) -> Operation:
    return Operation(
        id=operation_id,
        tag="health",
        summary=summary,
        description=(
            "200 once every preloaded model is ready, 503 until then. With `model` it reports that"
            " model only, in any state. The request loads nothing."
        ),
        parameters=[
            Parameter(
                name="model",
                place="query",
                description="A model's name, as in requests.",
                schema={"type": "string", "minLength": 1},
                example="spark",
            )
        ],
        responses={
            200: SuccessResponse(
                description="Every model in question is ready.",
                content=[Content(type=Readiness, examples={"ready": _READY})],
            ),
            503: SuccessResponse(
                description="A model is absent, loading, or failed to load.",
                content=[Content(type=Readiness, examples={"loading": _LOADING})],
            ),
        },
        errors=[InvalidRequest, ModelNotFound],
        public=True,
    )


LIVEZ = Operation(
    id="livez",
    tag="health",
    summary="Report whether the process is alive",
    description=(
        "200, also while models load. 503 while a thread of this process hangs in native code,"
        " which only a restart ends."
    ),
    responses={
        200: SuccessResponse(
            description="The process is alive.",
            content=[Content(type=Live, examples={"alive": {"status": "ok", "hanging": []}})],
        ),
        503: SuccessResponse(
            description="A thread of the process hangs: restart it.",
            content=[
                Content(
                    type=Live,
                    examples={"hanging": {"status": "hanging", "hanging": [_HANGING]}},
                )
            ],
        ),
    },
    public=True,
)


_Model = Annotated[str | None, QueryParameter(name="model")]


def health_handlers(
    liveness: Callable[[], Live],
    readiness: Callable[[str | None], Awaitable[Readiness]],
) -> Sequence[HTTPRouteHandler]:
    """Return the endpoints.

    *liveness* returns the threads that hang; *readiness* the state of one model, or of all that
    are preloaded.
    """

    @get("/livez", opt={"operation": LIVEZ})
    async def livez() -> Response[bytes]:
        live = liveness()
        return _response(live, 200 if live.status == "ok" else 503)

    @get("/readyz", opt={"operation": _readiness("readyz", "Report whether the server is ready")})
    async def readyz(model: _Model = None) -> Response[bytes]:
        return _ready(await readiness(_checked(model)))

    @get("/health", opt={"operation": _readiness("health", "The same as /readyz")})
    async def health(model: _Model = None) -> Response[bytes]:
        return _ready(await readiness(_checked(model)))

    return livez, readyz, health


def _checked(model: str | None) -> str | None:
    if model is not None and not model.strip():
        raise InvalidRequest("model: expected a name", param="model")
    return model


def _ready(state: Readiness) -> Response[bytes]:
    return _response(state, 200 if state.status == "ready" else 503)


def _response(state: Live | Readiness, status: int) -> Response[bytes]:
    return Response(_encoder.encode(state), status_code=status, media_type=MediaType.JSON)
