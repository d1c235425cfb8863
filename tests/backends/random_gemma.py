"""Write a GGUF of Gemma 3's shape with random weights: every other layer has a sliding window."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import random_gguf
from benchmarks.random_gguf import U32

SHAPE = dataclasses.replace(
    random_gguf.TINY, layers=4, context_length=2048, weights="Q8_0", vocabulary=512
)
WINDOW = 64


def write(path: Path, *, shape: random_gguf.Shape = SHAPE, seed: int = 0) -> Path:
    """Write the model, and return its path."""
    random_gguf.write_gguf(path, _metadata(shape), _tensors(shape), seed=seed)
    return path


def _metadata(shape: random_gguf.Shape) -> Iterator[tuple[str, int, Any]]:
    for key, kind, value in random_gguf.metadata(shape):
        named = "gemma3" if value == "qwen3" else value
        yield key.replace("qwen3.", "gemma3."), kind, named
    yield "gemma3.attention.sliding_window", U32, WINDOW
    yield "gemma3.attention.sliding_window_pattern", U32, 2


def _tensors(shape: random_gguf.Shape) -> Iterator[tuple[str, tuple[int, ...], str]]:
    yield from random_gguf.tensors(shape)
    for layer in range(shape.layers):
        yield f"blk.{layer}.post_attention_norm.weight", (shape.hidden,), "F32"
        yield f"blk.{layer}.post_ffw_norm.weight", (shape.hidden,), "F32"
