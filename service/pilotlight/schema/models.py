"""`/v1/models`."""

from typing import Literal, TypeAlias

from pilotlight.schema.base import Response

ModelState: TypeAlias = Literal["absent", "loading", "ready", "draining", "failed"]
ListedState: TypeAlias = ModelState | Literal["unsupported", "invalid"]
"""`unsupported`: the file is whole, and no backend here serves what it holds. `invalid`: it is
damaged, empty, a pointer of Git LFS, or a part of it is missing."""


class Model(Response, kw_only=True):
    """A model that can be asked for by its *id*."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """When the model's file was last changed, in seconds since 1970."""
    owned_by: str
    state: ListedState
    """Where it is; `unsupported` and `invalid` models cannot be loaded, as *error* says."""
    backend: str | None
    """The backend that serves it; null where none can."""
    context_length: int | None
    """Tokens of one request, prompt and answer, as it is served; null where it cannot be."""
    error: str | None
    """Why the model cannot be served as it is; null where nothing is known against it."""


class ModelList(Response, kw_only=True):
    """Every model: configured, discovered, embedded."""

    object: Literal["list"] = "list"
    data: list[Model]
