"""Write a LoRA adapter with random weights for a GGUF model, for measuring and for tests.

    python -m benchmarks.random_lora model.gguf adapter.gguf [--rank 16] [--seed 1]

It adapts every matrix of the attention and the feed-forward layers, as PEFT's `all-linear` does.
The same seed writes the same bytes.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.random_gguf import F32, STRING, write_gguf
from pilotlight_llama_cpp.gguf import Header

PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
_MATRIX = 2


def write(
    path: Path,
    model: Path,
    *,
    rank: int = 8,
    seed: int = 1,
    parts: Iterable[str] = PARTS,
    weights: str = "F32",
    keys: Mapping[str, tuple[int, Any] | None] = MappingProxyType({}),
) -> Path:
    """Write an adapter for *model* to *path*, which is returned.

    *keys* replace those of the header, each with its type and value; None leaves one out.
    """
    with Header(model) as header:
        architecture = header.text("general.architecture")
        shapes = dict(header.tensors)
    usual: dict[str, tuple[int, Any] | None] = {
        "general.type": (STRING, "adapter"),
        "general.architecture": (STRING, architecture),
        "adapter.type": (STRING, "lora"),
        "adapter.lora.alpha": (F32, 2.0 * rank),
    }
    metadata = [(key, *value) for key, value in {**usual, **keys}.items() if value is not None]
    write_gguf(path, metadata, list(tensors(shapes, rank, parts, weights)), seed=seed)
    return path


def tensors(
    shapes: dict[str, tuple[int, ...]], rank: int, parts: Iterable[str], weights: str
) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Yield both matrices of each adapted tensor, their rows before their columns."""
    for name, shape in shapes.items():
        if name.split(".")[-2] in parts and len(shape) == _MATRIX:
            columns, rows = shape
            yield f"{name}.lora_a", (rank, columns), weights
            yield f"{name}.lora_b", (rows, rank), weights


def main() -> None:
    """Write the adapter that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("path", type=Path)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weights", default="F16", choices=["F32", "F16", "Q8_0"])
    given = parser.parse_args()
    write(given.path, given.model, rank=given.rank, seed=given.seed, weights=given.weights)


if __name__ == "__main__":
    main()
