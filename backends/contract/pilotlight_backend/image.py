"""A picture in a prompt: its pixels, and the digest that identifies it."""

import hashlib
from array import array
from typing import Self

from msgspec import Struct

_CHANNELS = 3
_SIGN = -(2**31)


class Image(Struct, frozen=True, eq=False, gc=False):
    """A decoded picture. Two are equal if their sizes and pixels are.

    Raises `ValueError` for pixels that are not of that size.
    """

    width: int
    height: int
    rgb: bytes
    """Red, green and blue of each pixel, a byte each, row by row from the top."""
    digest: bytes
    """SHA-256 of width, height and pixels; `of` computes it."""

    def __post_init__(self) -> None:
        expected = self.width * self.height * _CHANNELS
        if self.width < 1 or self.height < 1 or len(self.rgb) != expected:
            raise ValueError(
                f"an image of {self.width} x {self.height} pixels has {expected} bytes,"
                f" and at least one pixel; got {len(self.rgb)} bytes"
            )

    @classmethod
    def of(cls, width: int, height: int, rgb: bytes) -> Self:
        """Return the picture with these pixels."""
        digest = hashlib.sha256(b"%d %d " % (width, height))
        digest.update(rgb)
        return cls(width, height, rgb, digest.digest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        # Without the pixels: requests appear in logs and in failed assertions.
        return f"Image({self.width} x {self.height}, {self.digest.hex()[:16]})"


def numbers(digest: bytes, count: int, *, part: int = 0) -> list[int]:
    """Return *count* negative numbers that stand for an image where tokens are compared.

    They are made from its *digest*, and from the number of the *part* for an image of several. Each
    has 31 bits of its own, so that all of them together tell two images apart.
    """
    drawn = array("i", hashlib.shake_256(b"%d:%b" % (part, digest)).digest(4 * count))
    return [one | _SIGN for one in drawn]
