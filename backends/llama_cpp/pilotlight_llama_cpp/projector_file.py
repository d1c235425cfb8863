"""Find the projector (mmproj) of a model, and read from its header what it is for.

A model that sees is two files. The Hub's repositories have them side by side, and call the second
one `mmproj-F16.gguf`, `mmproj-NAME-Q8_0.gguf` or `NAME-mmproj-f16.gguf`.
"""

import logging
import re
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from pilotlight_backend import ModelFacts, ModelFileInvalid
from pilotlight_backend.split_file import first_part, whole_name
from pilotlight_llama_cpp.encoder import KEPT_BYTES
from pilotlight_llama_cpp.gguf import Header

logger = logging.getLogger("pilotlight.llama_cpp")

_MARK = "mmproj"
_WEIGHTS = re.compile(r"[-_.](?:ud-)?(?:i?q[1-8](?:_\w+)*|bf16|f16|fp16|f32|fp32|mxfp4\w*)$")
"""How names of files say what the weights are: `-Q4_K_M`, `.f16`."""
_PREFERRED = ("f16", "q8_0", "bf16", "f32")
"""Weights of projectors, the best first: F16 is as good as F32, and quicker than BF16 on a CPU."""
_GENERIC = frozenset({"", "model"})
"""What is left of a projector's name that does not say whose it is."""
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
    """Return the projector of the file *model* in its folder; None if there is none.

    One that names no model is for the only one in its folder; else the model's name begins with it.
    """
    name = _plain(whole_name(model))
    try:
        files = [path for path in model.parent.iterdir() if path.suffix.lower() == ".gguf"]
    except OSError:
        return None
    projectors = [path for path in files if _MARK in path.name.lower()]
    models = len({first_part(path) for path in files}.difference(projectors))
    fitting = [path for path in projectors if path != model and _is_for(path, name, models)]
    return min(fitting, key=_rank, default=None)


def _is_for(projector: Path, model: str, models: int) -> bool:
    """Tell whether *projector* is for *model*, one of so many *models* in its folder."""
    named = _named(projector)
    return models == 1 if named in _GENERIC else model.startswith(named)


def _named(projector: Path) -> str:
    """Return the name of the model in that of *projector*."""
    return _plain(projector.name).replace(_MARK, "").strip("-_.")


def _plain(name: str) -> str:
    """Return *name* in lower case, without its suffix and what its weights are."""
    stem = name.lower().removesuffix(".gguf")
    return _WEIGHTS.sub("", stem)


def _rank(projector: Path) -> tuple[int, int, str]:
    """Return what sorts projectors: first those that name the model, then by their weights."""
    found = _WEIGHTS.search(projector.stem.lower())
    weights = found[0].strip("-_.") if found else ""
    place = _PREFERRED.index(weights) if weights in _PREFERRED else len(_PREFERRED)
    return -len(_named(projector)), place, projector.name


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
    except (OSError, ValueError) as error:
        raise ModelFileInvalid(path, "it cannot be read") from error


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
        input_modalities=("text", "image"),
        size_bytes=facts.size_bytes + file.size_bytes,
        image_bytes=file.work_bytes + KEPT_BYTES,
    )


def without_projector(facts: ModelFacts) -> ModelFacts:
    """Return *facts* of a model that reads text alone."""
    if facts.projector is None:
        return facts
    return replace(
        facts,
        projector=None,
        input_modalities=("text",),
        size_bytes=facts.size_bytes - facts.projector.stat().st_size,
        image_bytes=0,
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
