"""Limits of one image."""

from msgspec import Struct


class ImageLimits(Struct, frozen=True):
    """What an image may be, and how large the model gets it."""

    max_bytes: int = 10_000_000
    """Of the file."""
    max_pixels: int = 25_000_000
    """Of the image in the file: the 24 megapixels of common cameras, and a little more."""
    max_side: int = 2048
    """A longer side is scaled down to it: as OpenAI does, and it bounds the memory of a prompt."""
    scales: bool = True
    """Whether a larger image is scaled down; if not, it is refused."""


LOW_DETAIL_SIDE = 512
"""The longest side with `detail: low`, as OpenAI has it."""
