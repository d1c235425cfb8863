"""Probes."""

from typing import Literal

from pilotlight.schema.base import Response
from pilotlight.schema.models import ModelState


class Live(Response, kw_only=True):
    """The process answers."""

    status: Literal["ok"] = "ok"


class ModelReadiness(Response, kw_only=True):
    """How far one model to preload is."""

    id: str
    state: ModelState
    progress: float
    """0 to 1, the share of its bytes that are read; of one that is fetched before, half of that."""
    retry_after: float | None
    """Seconds that the load is expected to take still; null where unknown."""
    error: str | None


class Readiness(Response, kw_only=True):
    """Whether every model to preload is ready; `draining` once the server is told to end."""

    status: Literal["ready", "loading", "failed", "draining"]
    models: list[ModelReadiness]
