"""Choose the projector (mmproj) of a model by the names of files, and take it out of facts. Pure.

A model that sees is two files. The Hub's repositories have them side by side, and call the second
one `mmproj-F16.gguf`, `mmproj-NAME-Q8_0.gguf` or `NAME-mmproj-f16.gguf`.
"""

import re
from collections.abc import Iterable
from pathlib import PurePath

from msgspec.structs import replace

from pilotlight_backend.split_file import whole_name
from pilotlight_backend.types import ModelFacts

_MARK = "mmproj"
_SUFFIX = ".gguf"
_WEIGHTS = re.compile(
    r"[-_.](?:ud-)?(?:i?q[1-8](?:_\w+)*|bf16|f16|fp16|f32|fp32|mxfp4\w*)$", re.IGNORECASE
)
"""How names of files say what the weights are: `-Q4_K_M`, `.f16`."""
_PREFERRED = ("f16", "q8_0", "bf16", "f32")
"""Weights of projectors, the best first: F16 is as good as F32, and quicker than BF16 on a CPU."""
_GENERIC = frozenset({"", "model"})
"""What is left of a projector's name that does not say whose it is."""


def is_projector(name: str) -> bool:
    """Return whether the file *name* is that of a projector."""
    return name.lower().endswith(_SUFFIX) and _MARK in name.lower()


def best_projector(model: str, names: Iterable[str], *, one_model: bool = False) -> str | None:
    """Return which of *names* is the projector of the file *model*; None if none is.

    *names* are the files of one folder. A projector that names a model is for the models whose
    names begin with that; one that names none is for the only model of the folder, in any number of
    quantizations. With *one_model* all models of the folder count as one.
    """
    if is_projector(model):
        return None
    files = [name for name in names if name.lower().endswith(_SUFFIX)]
    alone = one_model or len({_plain(name) for name in files if not is_projector(name)}) <= 1
    wanted = _plain(model)
    fitting = [name for name in files if is_projector(name) and _is_for(name, wanted, alone=alone)]
    return min(fitting, key=_rank, default=None)


def projector_name(model: str, projector: str) -> str:
    """Return what to call the file *projector* in a folder of many models, to be that of *model*.

    `mmproj-F16.gguf` of `qwen-Q4_K_M.gguf` becomes `mmproj-qwen-F16.gguf`.
    """
    weights = _WEIGHTS.search(_stem(projector))
    name = _WEIGHTS.sub("", _stem(model))
    return f"{_MARK}-{name}{f'-{weights[0][1:]}' if weights else ''}{_SUFFIX}"


def _is_for(projector: str, model: str, *, alone: bool) -> bool:
    """Return whether *projector* is for *model*; *alone* if its folder has no other model."""
    named = _named(projector)
    if named in _GENERIC:
        return alone or named == model
    return model.startswith(named) and not model[len(named) :][:1].isalnum()


def _named(projector: str) -> str:
    """Return the name of the model in that of *projector*."""
    return _plain(projector).replace(_MARK, "").strip("-_.")


def _plain(name: str) -> str:
    """Return *name* in lower case, without suffix, number of its part, and weights."""
    return _WEIGHTS.sub("", _stem(name)).lower()


def _stem(name: str) -> str:
    return whole_name(PurePath(name))


def _rank(projector: str) -> tuple[int, int, str]:
    """Return what sorts projectors: first those that name the model, then by their weights."""
    found = _WEIGHTS.search(_stem(projector))
    weights = found[0].strip("-_.").lower() if found else ""
    place = _PREFERRED.index(weights) if weights in _PREFERRED else len(_PREFERRED)
    return -len(_named(projector)), place, projector


def without_projector(facts: ModelFacts) -> ModelFacts:
    """Return *facts* of the model without its projector."""
    if facts.projector is None:
        return facts
    return replace(
        facts,
        projector=None,
        projector_bytes=0,
        input_modalities=("text",),
        size_bytes=facts.size_bytes - facts.projector_bytes,
        image_bytes=0,
    )
