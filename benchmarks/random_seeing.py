"""Write small models that see: a text model, and its projector beside it.

    python -m benchmarks.random_seeing FOLDER

One for each way in which llama.cpp evaluates images: as a prompt (`mlp`), without causal attention
(`gemma3`), cut into tiles (`idefics3`), with positions of time, row and column (`qwen2vl_merger`),
and these over a recurrent state (`qwen35`).
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks import random_families, random_projector
from benchmarks.random_projector import Kind


class Model(NamedTuple):
    """The two files of a model."""

    architecture: str
    projector: Kind
    tokens: tuple[str, ...] = ()
    """Tokens of the vocabulary around images."""


_QWEN = ("<|vision_start|>", "<|vision_end|>")
MODELS: Mapping[str, Model] = {
    "mlp": Model("qwen3", "mlp"),
    "gemma3": Model("gemma3", "gemma3", ("<start_of_image>", "<end_of_image>")),
    "idefics3": Model(
        "llama",
        "idefics3",
        ("\n\n", "<fake_token_around_image>", "<global-img>"),
    ),
    "qwen2vl": Model("qwen2vl", "qwen2vl_merger", _QWEN),
    "qwen35": Model("qwen35", "qwen2vl_merger", _QWEN),
}


def write(folder: Path, name: str, *, seed: int = 0) -> Path:
    """Write the model *name* to a folder of its own in *folder*, and return its path."""
    model = MODELS[name]
    path = folder / name / f"{name}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    random_families.write(path, model.architecture, seed=seed, more=model.tokens)
    tower = replace(random_projector.TINY, kind=model.projector, text=random_families.HIDDEN)
    random_projector.write(path.with_name(f"mmproj-{name}-f32.gguf"), tower, seed=seed)
    return path


def main() -> None:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    for name in MODELS:
        write(arguments.folder, name)


if __name__ == "__main__":
    main()
