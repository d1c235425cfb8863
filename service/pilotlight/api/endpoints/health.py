"""Probes: `/livez`, `/readyz`, `/health`. They read memory only, and respond during any load."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from pilotlight.api.endpoint import GET, Endpoint, endpoint
from pilotlight.api.http.request import Request
from pilotlight.api.http.response import Response
from pilotlight.api.openapi.operation import Content, Operation, SuccessResponse, model_query
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
            model_query("A model's name, as in requests."),
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


def health_endpoints(
    liveness: Callable[[], Live],
    readiness: Callable[[str | None], Awaitable[Readiness]],
) -> Sequence[Endpoint]:
    """Return the endpoints.

    *liveness* returns the threads that hang; *readiness* the state of one model, or of all that
    are preloaded.
    """

    @endpoint("/livez", LIVEZ, GET)
    async def livez(_: Request) -> Response:
        live = liveness()
        return _response(live, 200 if live.status == "ok" else 503)

    @endpoint("/readyz", _readiness("readyz", "Report whether the server is ready"), GET)
    async def readyz(request: Request) -> Response:
        return _ready(await readiness(_model(request)))

    @endpoint("/health", _readiness("health", "The same as /readyz"), GET)
    async def health(request: Request) -> Response:
        return _ready(await readiness(_model(request)))

    return livez, readyz, health


def _model(request: Request) -> str | None:
    model = request.query.get("model")
    if model is not None and not model.strip():
        raise InvalidRequest("model: expected a name", param="model")
    return model


def _ready(state: Readiness) -> Response:
    return _response(state, 200 if state.status == "ready" else 503)


def _response(state: Live | Readiness, status: int) -> Response:
    return Response(_encoder.encode(state), status=status)
