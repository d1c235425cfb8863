"""Write a projector (mmproj) of a real kind's shape with random weights, for measuring and tests.

    python -m benchmarks.random_projector mmproj.gguf            # SigLIP-base's shape, 224 pixels
    python -m benchmarks.random_projector --tiny mmproj.gguf     # 185 kB, 16 tokens

The tensors are those that llama.cpp's `clip_model_loader` (tools/mtmd/clip.cpp) wants of each kind.
The same seed writes the same bytes.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.random_gguf import ARRAY, BOOL, F32, I32, STRING, U32, write_gguf

Kind = Literal["mlp", "gemma3", "idefics3", "qwen2vl_merger"]


@dataclass(frozen=True, kw_only=True)
class Tower:
    """A vision tower and its projector; the defaults are SigLIP-base's."""

    kind: Kind = "mlp"
    image: int = 224
    patch: int = 16
    layers: int = 12
    width: int = 768
    heads: int = 12
    feed_forward: int = 3072
    text: int = 1024
    """The width of the text model."""
    merge: int = 2
    """Patches to a side that become one token, in the kinds that merge some."""
    weights: str = "F16"


TINY = Tower(
    image=32, patch=8, layers=2, width=64, heads=4, feed_forward=128, text=64, weights="F32"
)  # fmt: skip
"""Sixteen tokens an image."""


def write(path: Path, tower: Tower, *, seed: int = 0) -> Path:
    """Write a projector of *tower* to *path*."""
    write_gguf(path, _metadata(tower), _tensors(tower), seed=seed)
    return path


def _metadata(tower: Tower) -> Iterator[tuple[str, int, Any]]:
    yield "general.architecture", STRING, "clip"
    yield "general.type", STRING, "mmproj"
    yield "clip.has_vision_encoder", BOOL, True
    yield "clip.projector_type", STRING, tower.kind
    yield "clip.use_gelu", BOOL, True
    for key, value in {
        "image_size": tower.image,
        "patch_size": tower.patch,
        "embedding_length": tower.width,
        "feed_forward_length": tower.feed_forward,
        "block_count": tower.layers,
        "projection_dim": tower.text,
        "attention.head_count": tower.heads,
        "projector.scale_factor": tower.merge,
        "spatial_merge_size": tower.merge,
        "preproc_image_size": 4 * tower.image,
    }.items():
        yield f"clip.vision.{key}", U32, value
    yield "clip.vision.attention.layer_norm_epsilon", F32, 1e-6
    for key in ("image_mean", "image_std"):
        yield f"clip.vision.{key}", ARRAY, (F32, [0.5, 0.5, 0.5])
    if tower.kind == "mlp":  # else its last layer is skipped
        yield "clip.vision.feature_layer", ARRAY, (I32, [tower.layers])


def _tensors(tower: Tower) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """Yield each tensor's name, shape and type; biases and norms have 32 bits."""
    kind, width = tower.weights, tower.width
    patches = (tower.image // tower.patch) ** 2
    yield "v.patch_embd.weight", (width, 3, tower.patch, tower.patch), kind
    if tower.kind == "qwen2vl_merger":  # a second frame's; positions are rotary
        yield "v.patch_embd.weight.1", (width, 3, tower.patch, tower.patch), kind
    else:
        yield "v.patch_embd.bias", (width,), "F32"
        yield "v.position_embd.weight", (patches, width), "F32"
    for layer in range(tower.layers):
        block = f"v.blk.{layer}"
        for norm in ("ln1", "ln2"):
            yield f"{block}.{norm}.weight", (width,), "F32"
            yield f"{block}.{norm}.bias", (width,), "F32"
        for name in ("q", "k", "v", "out"):
            yield f"{block}.attn_{name}.weight", (width, width), kind
            yield f"{block}.attn_{name}.bias", (width,), "F32"
        for name, rows, columns in (
            ("up", tower.feed_forward, width),
            ("down", width, tower.feed_forward),
        ):
            yield f"{block}.ffn_{name}.weight", (rows, columns), kind
            yield f"{block}.ffn_{name}.bias", (rows,), "F32"
    yield "v.post_ln.weight", (width,), "F32"
    yield "v.post_ln.bias", (width,), "F32"
    yield from _projector(tower)


def _projector(tower: Tower) -> Iterator[tuple[str, tuple[int, ...], str]]:
    kind, width, text = tower.weights, tower.width, tower.text
    merged = width * tower.merge**2
    match tower.kind:
        case "mlp":
            layers = [("mm.0", text, width), ("mm.2", text, text)]
        case "qwen2vl_merger":
            layers = [("mm.0", merged, merged), ("mm.2", text, merged)]
        case "gemma3":
            yield "mm.input_projection.weight", (width, text), kind
            yield "mm.soft_emb_norm.weight", (width,), "F32"
            return
        case "idefics3":
            yield "mm.model.fc.weight", (text, merged), kind
            return
    for name, rows, columns in layers:
        yield f"{name}.weight", (rows, columns), kind
        yield f"{name}.bias", (rows,), "F32"


def main() -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("path", type=Path)
    parser.add_argument("--tiny", action="store_true", help="a shape for tests")
    parser.add_argument("--text", type=int, help="the width of the text model")
    parser.add_argument("--image", type=int, help="pixels to a side")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    changed = {name: getattr(arguments, name) for name in ("text", "image")}
    tower = TINY if arguments.tiny else Tower()
    fields = {**tower.__dict__, **{k: v for k, v in changed.items() if v is not None}}
    write(arguments.path, Tower(**fields), seed=arguments.seed)


if __name__ == "__main__":
    main()
