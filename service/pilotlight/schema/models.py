"""`/v1/models`."""

from typing import Literal, TypeAlias

from pilotlight.schema.base import Response

ModelState: TypeAlias = Literal["absent", "loading", "ready", "draining", "failed"]


class Model(Response, kw_only=True):
    """A model that can be asked for by its *id*."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """When the model's file was last changed, in seconds since 1970."""
    owned_by: str
    state: ModelState
    backend: str | None
    """The backend that serves it; null where none can."""
    context_length: int | None
    """Tokens of one request, prompt and answer; null where the files do not tell."""


class ModelList(Response, kw_only=True):
    """Every model: configured, discovered, embedded."""

    object: Literal["list"] = "list"
    data: list[Model]
