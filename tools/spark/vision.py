"""The vision tower and projector: llama.cpp's ``clip`` with an ``mlp`` projector, in PyTorch.

Each patch of the picture becomes one embedding in the prompt.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from tools.spark.model import Shape

# llama.cpp scales a picture to fit into the tower's square, by Pillow's bicubic filter, and pads
# it with this colour (mtmd_image_preprocessor_fixed_size; clip.cpp, PROJECTOR_TYPE_MLP).
_PADDING = (122, 116, 104)


@dataclass(frozen=True, slots=True)
class VisionShape:
    """The sizes of the tower, in llama.cpp's terms."""

    image_size: int = 48
    patch_size: int = 8
    embedding_length: int = 64
    feed_forward_length: int = 192
    block_count: int = 4
    head_count: int = 4
    projector_length: int = 320
    projection_dim: int = Shape().hidden_size
    layer_norm_epsilon: float = 1e-5
    image_mean: float = 0.5
    image_std: float = 0.25

    @property
    def patches(self) -> int:
        """How many embeddings a picture becomes."""
        return (self.image_size // self.patch_size) ** 2


def preprocess(image: Image.Image, side: int = VisionShape().image_size) -> np.ndarray:
    """Return the pixels [side, side, 3] that llama.cpp would hand to the tower."""
    if image.size == (side, side):
        return np.asarray(image)
    # llama.cpp computes the scale in float32.
    scale = min(np.float32(side) / np.float32(length) for length in image.size)
    width, height = (min(side, math.ceil(np.float32(length) * scale)) for length in image.size)
    square = Image.new("RGB", (side, side), _PADDING)
    scaled = image.resize((width, height), Image.Resampling.BICUBIC)
    square.paste(scaled, ((side - width) // 2, (side - height) // 2))
    return np.asarray(square)


class Block(nn.Module):
    """A transformer block that attends both ways; parameter names are llama.cpp's."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        width, hidden = shape.embedding_length, shape.feed_forward_length
        self._heads = shape.head_count
        self.ln1 = nn.LayerNorm(width, shape.layer_norm_epsilon)
        self.attn_q = nn.Linear(width, width)
        self.attn_k = nn.Linear(width, width)
        self.attn_v = nn.Linear(width, width)
        self.attn_out = nn.Linear(width, width)
        self.ln2 = nn.LayerNorm(width, shape.layer_norm_epsilon)
        self.ffn_up = nn.Linear(width, hidden)
        self.ffn_down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        batch, length, width = x.shape
        normed = self.ln1(x)
        query, key, value = (
            part(normed).view(batch, length, self._heads, -1).transpose(1, 2)
            for part in (self.attn_q, self.attn_k, self.attn_v)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.attn_out(mixed.transpose(1, 2).reshape(batch, length, width))
        # The tanh approximation is ggml's.
        up = functional.gelu(self.ffn_up(self.ln2(x)), approximate="tanh")
        return x + self.ffn_down(up)


class Vision(nn.Module):
    """The tower and its projector."""

    def __init__(self, shape: VisionShape) -> None:
        super().__init__()
        self.shape = shape
        width, wide = shape.embedding_length, shape.projection_dim
        self.patch_embd = nn.Linear(3 * shape.patch_size**2, width)
        self.position_embd = nn.Parameter(torch.randn(shape.patches, width) * 0.02)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.block_count))
        self.post_ln = nn.LayerNorm(width, shape.layer_norm_epsilon)
        self.mm_0 = nn.Linear(width, shape.projector_length)
        self.mm_2 = nn.Linear(shape.projector_length, wide)

    def features(self, pixels: Tensor) -> Tensor:
        """Return what the tower makes of each patch: [batch, patches, width].

        ``pixels``: [batch, side, side, 3], bytes.
        """
        return self.layers(pixels)[1]

    def layers(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the last block is given, and what the tower makes of that."""
        shape = self.shape
        x = (pixels.float() / 255 - shape.image_mean) / shape.image_std
        batch, across, size = len(x), shape.image_size // shape.patch_size, shape.patch_size
        # Within a patch: channel, row, column, as a convolution's kernel has them.
        x = x.view(batch, across, size, across, size, 3).permute(0, 1, 3, 5, 2, 4)
        x = self.patch_embd(x.reshape(batch, shape.patches, -1)) + self.position_embd
        *first, last = self.blk
        for block in first:
            x = block(x)
        return x, self.post_ln(last(x))

    def project(self, features: Tensor) -> Tensor:
        """Return what the projector makes of ``features``."""
        wide = functional.gelu(self.mm_0(features), approximate="tanh")
        projected: Tensor = self.mm_2(wide)
        return projected

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the embeddings that stand for each picture: [batch, patches, hidden size]."""
        return self.project(self.features(pixels))


def save_vision(vision: Vision, folder: Path) -> None:
    """Write ``vision.pt``."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(vision.state_dict(), folder / "vision.pt")


def load_vision(folder: Path) -> Vision:
    """Read what ``save_vision`` wrote."""
    vision = Vision(VisionShape())
    vision.load_state_dict(torch.load(folder / "vision.pt", weights_only=True))
    return vision.eval()
