"""Probes."""

from typing import Literal

from msgspec import field

from pilotlight.schema.base import Response
from pilotlight.schema.models import ModelState


class Hanging(Response, kw_only=True):
    """A thread of the process that hangs in native code and cannot be ended."""

    id: str
    """The model's name."""
    during: Literal["load", "step", "unload"]
    """The model is not loaded again while its load hangs; an engine that hangs is replaced."""
    memory_bytes: int
    """Memory that cannot be freed; 0 if unknown."""


class Live(Response, kw_only=True):
    """The process is alive; `hanging` if only a restart ends a thread that hangs."""

    status: Literal["ok", "hanging"]
    hanging: list[Hanging]


class ModelReadiness(Response, kw_only=True):
    """Readiness of one model."""

    id: str
    state: ModelState
    progress: float
    """0 to 1, the share of the load's expected time that has passed; never falls, 1 once ready."""
    retry_after: float | None
    """Seconds until the load is expected to end; null if unknown."""
    error: str | None


class Readiness(Response, kw_only=True):
    """Whether every preloaded model is ready; `draining` once the server shuts down."""

    status: Literal["ready", "loading", "failed", "draining"]
    models: list[ModelReadiness]
    """Models that are not ready, empty once all are; with `model`, that one in any state."""
    hanging: list[Hanging] = field(default_factory=list)
    """Threads that hang, of any model; they do not change the status."""
