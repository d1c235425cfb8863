"""vLLM's endpoints for LoRA adapters, and llama-server's list of them."""

from typing import Annotated

from msgspec import Meta

from pilotlight.schema.base import NonEmpty, Request, Response
from pilotlight_backend.adapters import LARGEST_SCALE


class LoadAdapterRequest(Request, kw_only=True):
    """An adapter to load."""

    lora_name: Annotated[NonEmpty, Meta(description="What requests call it as their `model`.")]
    lora_path: Annotated[
        NonEmpty, Meta(description="Its GGUF file, in the folder that `--lora-dir` names.")
    ]
    load_inplace: Annotated[
        bool | None,
        Meta(description="Whether it replaces an adapter of this name. False if omitted."),
    ] = None
    base_model_name: Annotated[
        NonEmpty | None,
        Meta(description="The model that it is for; the one that is loaded if omitted."),
    ] = None
    scale: Annotated[
        Annotated[float, Meta(ge=-LARGEST_SCALE, le=LARGEST_SCALE)] | None,
        Meta(description="How strongly it applies. 1 if omitted."),
    ] = None


class UnloadAdapterRequest(Request, kw_only=True):
    """An adapter to unload."""

    lora_name: Annotated[NonEmpty, Meta(description="Its name.")]
    lora_int_id: Annotated[int | None, Meta(description="vLLM's number for it; not used.")] = None


class ListedAdapter(Response, kw_only=True):
    """An adapter, as llama-server lists it."""

    id: int
    """What the field `lora` of a request names it by."""
    path: str
    """The name of its file."""
    scale: float
    """How strongly it applies where a request names it as its model."""
    name: str
    """What requests call it as their `model`."""
    model: str
    """The model that it is for."""
