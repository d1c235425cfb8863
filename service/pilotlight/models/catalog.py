"""What a model is: its name, where its files are, and the options that it is served with."""

import os
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from pilotlight.config import (
    CacheType,
    Count,
    DraftTokens,
    FlashAttention,
    Isolation,
    MatchTokens,
    Seconds,
)
from pilotlight.models.fetch.address import Origin
from pilotlight_backend.adapters import LARGEST_SCALE

SpecialTokens: TypeAlias = Literal["text", "parse"]
_Text: TypeAlias = Annotated[str, Meta(min_length=1)]


class ModelOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one model in models.yaml; the settings are their defaults."""

    path: _Text
    """A local file or folder, or the address to fetch it from."""
    backend: str | None = None
    """The backend that serves it; by default the first that recognises the path."""
    parallel: Count | None = None
    context_length: Count | None = None
    threads: Count | None = None
    gpu_layers: Annotated[int, Meta(ge=-1)] | None = None
    """Layers on the GPU; -1 for all."""
    deterministic: bool | None = None
    flash_attention: FlashAttention | None = None
    cache_type_k: CacheType | None = None
    cache_type_v: CacheType | None = None
    kv_unified: bool | None = None
    speculation: Literal["none", "ngram", "draft"] | None = None
    draft_model: _Text | None = None
    """The smaller model that drafts, of the same vocabulary: a name in models.yaml, or a file.

    A file is relative to the model's folder.
    """
    draft_max: DraftTokens | None = None
    ngram_min: MatchTokens | None = None
    execution_provider: _Text | None = None
    """Execution provider of ONNX Runtime, by its name in `genai_config.json`: `cuda`."""
    chat_template: _Text | None = None
    """A Jinja file that replaces the chat template of the model.

    Relative to the model's folder.
    """
    mmproj: _Text | bool | None = None
    """The projector of a model that sees, if that is not beside it: a file, or its address.

    A path is relative to the model's folder. False serves the model without one.
    """
    baked: _Text | None = None
    """The file of its baked prompt, if that is not beside the model.

    Relative to the model's folder.
    """
    isolation: Isolation | None = None
    """Whether the engine runs in a process of its own."""
    step_timeout: Seconds | None = None
    """Seconds after which a step of the engine counts as hanging; 0 for never."""
    load_timeout: Seconds | None = None
    """Seconds without progress after which a load counts as hanging; 0 for never."""
    reasoning_format: str | None = None
    tool_call_format: str | None = None
    prompts: dict[str, str] | None = None
    """Texts before the inputs of a model that embeds, by the name that a request gives.

    By default those of `config_sentence_transformers.json` in the model's folder.
    """
    special_tokens_in_content: SpecialTokens | None = None
    """Whether names of special tokens in messages are text, or these tokens."""


class AdapterOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A LoRA adapter of a model, below its `adapters:` in models.yaml."""

    path: _Text
    """A local file, or the address to fetch it from."""
    scale: Annotated[float, Meta(ge=-LARGEST_SCALE, le=LARGEST_SCALE)] = 1.0
    name: str | None = None
    """What requests call it, where `adapters:` is a list and not a map of names."""


class AdapterOf(Struct, frozen=True):
    """What makes a model an adapter: the model that it changes, and how much."""

    parent: "ModelEntry"
    scale: float = 1.0


class ModelEntry(Struct, frozen=True):
    """A model by its name, lower-case; *path* may not exist."""

    name: str
    path: Path
    source: Literal["configured", "discovered", "embedded"]
    options: ModelOptions
    origin: Origin | None = None
    """The address to fetch it from at its first load; None for a local file.

    It becomes the entry's path or a folder above it.
    """
    projector_origin: Origin | None = None
    """The address of its projector, if models.yaml has one."""
    draft_origin: Origin | None = None
    """The address of its draft model, if models.yaml has one."""
    adapter: AdapterOf | None = None
    """Of a LoRA adapter, which is served over the weights of its parent."""

    @property
    def base(self) -> "ModelEntry":
        """The model whose weights it uses: itself, or its parent."""
        return self.adapter.parent if self.adapter else self

    @property
    def origins(self) -> tuple[Origin, ...]:
        """What is fetched at its first load, the model last."""
        needed = (self.projector_origin, self.draft_origin, self.origin)
        return tuple(one for one in needed if one)

    def __hash__(self) -> int:
        """Return a hash of what can be hashed: options have maps."""
        return hash((self.name, self.path))


def in_folder_of(model: Path, name: str) -> Path:
    """Return the path of the file *name* in the folder of *model*, or in the folder that it is."""
    is_folder = os.path.isdir(model)  # noqa: PTH112 - `Path.is_dir` raises where access is refused
    return (model if is_folder else model.parent) / name
