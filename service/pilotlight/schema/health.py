"""Probes."""

from typing import Literal

from msgspec import field

from pilotlight.schema.base import Response
from pilotlight.schema.models import ModelState


class Hanging(Response, kw_only=True):
    """What hangs in the process and cannot be ended: a thread in native code."""

    id: str
    """The model's name."""
    during: Literal["load", "step"]
    """The model is not loaded again while its load hangs; an engine that hangs is replaced."""
    memory_bytes: int
    """What cannot be had back; 0 where that is not known."""


class Live(Response, kw_only=True):
    """The process answers; `hanging` where only a restart gives back what hangs in it."""

    status: Literal["ok", "hanging"]
    hanging: list[Hanging]


class ModelReadiness(Response, kw_only=True):
    """How far one model is."""

    id: str
    state: ModelState
    progress: float
    """0 to 1, the part of the load's time that is over; it never falls, and is 1 once ready."""
    retry_after: float | None
    """Seconds that the load is expected to take still; null where unknown."""
    error: str | None


class Readiness(Response, kw_only=True):
    """Whether every model to preload is ready; `draining` once the server is told to end."""

    status: Literal["ready", "loading", "failed", "draining"]
    models: list[ModelReadiness]
    """Those that are not ready, empty once all are; with `model`, that one in any state."""
    hanging: list[Hanging] = field(default_factory=list)
    """Of any model, whatever was asked about; it does not change the status."""
