"""`/v1/models`."""

from typing import Literal, TypeAlias

from pilotlight.schema.base import Response

ModelState: TypeAlias = Literal["absent", "loading", "ready", "draining", "failed"]
Capability: TypeAlias = Literal["completion", "embedding", "rerank"]
Modality: TypeAlias = Literal["text", "image"]
LoadPhase: TypeAlias = Literal["fetch", "read", "load", "warm"]
ListedState: TypeAlias = ModelState | Literal["unsupported", "invalid"]
"""`unsupported`: the file is valid, and no installed backend can serve it. `invalid`: it is
damaged, empty, a Git LFS pointer, or incomplete."""


class Model(Response, kw_only=True):
    """A model, which requests name by its *id*."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """When the model's file was last changed, in seconds since 1970."""
    owned_by: str
    state: ListedState
    """Its state; `unsupported` and `invalid` models cannot be loaded, *error* says why."""
    backend: str | None
    """The backend that serves it; null if none can."""
    context_length: int | None
    """Tokens of one request, prompt and completion; null if it cannot be served."""
    capabilities: list[Capability]
    """What it does, in the words of llama-server and Ollama; empty if it cannot be served."""
    input_modalities: list[Modality]
    """What its prompts may have, as OpenRouter lists it; empty if it cannot be served."""
    parent: str | None = None
    """Of a LoRA adapter: the model over whose weights it is served."""
    root: str
    """The file, or folder, that it is loaded from."""
    error: str | None
    """Why the model cannot be served; null if no reason is known."""


class ModelList(Response, kw_only=True):
    """Every model: configured, discovered, embedded."""

    object: Literal["list"] = "list"
    data: list[Model]
