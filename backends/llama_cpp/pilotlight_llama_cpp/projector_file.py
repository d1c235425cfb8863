"""Find the projector (mmproj) of a model, and read from its header what it is for."""

import logging
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from pilotlight_backend import ModelFacts, ModelFileInvalid
from pilotlight_backend.projectors import best_projector, without_projector
from pilotlight_llama_cpp.encoder import KEPT_BYTES
from pilotlight_llama_cpp.gguf import Header

logger = logging.getLogger("pilotlight.llama_cpp")

_UNSUPPORTED = {
    "hunyuanvl": "its positions depend on how many images come before",
    "deepseek4v": "its tokens depend on what comes before the image",
}
"""Kinds of which an image is not the same wherever it stands (`add_media` in mtmd.cpp)."""
_MOST_PATCHES = 16_384
_WIDTHS = 8
_F32 = 4


class ProjectorFile(NamedTuple):
    """What a projector's header says."""

    path: Path
    size_bytes: int
    sees: bool
    """Whether it is for images."""
    work_bytes: int
    """About what encoding an image takes, beside the weights."""


def beside(model: Path) -> Path | None:
    """Return the projector of the file *model* in its folder; None if there is none."""
    try:
        names = [path.name for path in model.parent.iterdir()]
    except OSError:
        return None
    name = best_projector(model.name, names)
    return None if name is None else model.with_name(name)


def read(path: Path) -> ProjectorFile:
    """Return what the header of the projector at *path* says. Raises `ModelFileInvalid`."""
    try:
        with Header(path) as header:
            if header.text("general.architecture") != "clip":
                raise header.invalid("it is not a multimodal projector (mmproj)")
            kind = header.text("clip.projector_type") or header.text("clip.vision.projector_type")
            if reason := _UNSUPPORTED.get(kind or ""):
                raise header.invalid(f"projectors of the kind {kind} are not supported: {reason}")
            return ProjectorFile(
                path,
                header.size_bytes,
                header.flag("clip.has_vision_encoder"),
                _work_bytes(header),
            )
    except FileNotFoundError as error:
        raise ModelFileInvalid(path, "no such file") from error
    except OSError as error:
        raise ModelFileInvalid(path, f"it cannot be read: {error.strerror}") from error
    except ValueError as error:  # an empty file cannot be mapped
        raise ModelFileInvalid(path, "the file is empty") from error


def _work_bytes(header: Header) -> int:
    """Return about what an image takes while it is encoded, and its pixels as numbers."""

    def number(name: str) -> int:
        return max(header.numbers(f"clip.vision.{name}"), default=0)

    side = number("image_size") // max(number("patch_size"), 1)
    patches = min(side * side, _MOST_PATCHES)
    rows = number("feed_forward_length") + _WIDTHS * number("embedding_length")
    return patches * rows * _F32


def with_projector(facts: ModelFacts, path: Path) -> ModelFacts:
    """Return *facts* of a model that sees with the projector at *path*.

    Raises `ModelFileInvalid`.
    """
    file = read(path)
    if not file.sees:
        raise ModelFileInvalid(path, "it is a projector without a vision encoder")
    facts = without_projector(facts)
    return replace(
        facts,
        projector=path,
        projector_bytes=file.size_bytes,
        input_modalities=("text", "image"),
        size_bytes=facts.size_bytes + file.size_bytes,
        image_bytes=file.work_bytes + KEPT_BYTES,
    )


def with_what_is_beside(facts: ModelFacts) -> ModelFacts:
    """Return *facts*, with the projector that is beside the model if there is one of use."""
    path = beside(facts.path) if facts.generates else None
    if path is None:
        return facts
    try:
        return with_projector(facts, path)
    except ModelFileInvalid as error:
        logger.warning("%s takes no images: %s", facts.path.name, error)
        return facts
