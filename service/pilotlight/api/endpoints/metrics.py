"""`GET /metrics`, for Prometheus."""

import asyncio
from typing import Any

from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler

from pilotlight.api.http.handlers import get
from pilotlight.api.openapi.operation import Content, Operation, SuccessResponse
from pilotlight.observability.metrics import Metrics, import_library

_EXAMPLE = """\
# HELP pilotlight_load_phase_seconds Phases of loads.
# TYPE pilotlight_load_phase_seconds histogram
pilotlight_load_phase_seconds_sum{backend="llama_cpp",model="spark",phase="load"} 0.041
"""

OPERATION = Operation(
    id="metrics",
    tag="health",
    summary="Return all metrics",
    description="Prometheus' text format, or OpenMetrics where `Accept` asks for it.",
    responses={
        200: SuccessResponse(
            description="The metrics.",
            content=[
                Content(
                    media_type=media_type,
                    schema={"type": "string"},
                    examples={"load": _EXAMPLE},
                )
                for media_type in ("text/plain", "application/openmetrics-text")
            ],
        )
    },
)


def metrics_handler(metrics: Metrics) -> HTTPRouteHandler:
    """Return the endpoint."""

    @get("/metrics", opt={"operation": OPERATION})
    async def scrape(request: Request[Any, Any, Any]) -> Response[bytes]:
        await asyncio.to_thread(
            import_library
        )  # the first import takes long, and the event loop must not wait
        body, content_type = metrics.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return scrape
