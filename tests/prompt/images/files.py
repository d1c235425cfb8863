"""Image files for tests, made by Pillow or by hand."""

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw

RED, GREEN, BLUE, WHITE, BLACK = ((255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0))


def written(picture: Image.Image, name: str, **options: Any) -> bytes:
    """Return *picture* as a file of the format *name*."""
    file = BytesIO()
    picture.save(file, name, **options)
    return file.getvalue()


def corner(size: tuple[int, int] = (48, 32), mode: str = "RGB") -> Image.Image:
    """Return a white picture with a red corner at the top left."""
    picture = Image.new(mode, size, "white")
    ImageDraw.Draw(picture).rectangle((0, 0, size[0] // 3, size[1] // 3), fill="red")
    return picture


def png_of(width: int, height: int, *, kind: int = 2, depth: int = 8, lines: bytes = b"") -> bytes:
    """Return a PNG whose header says *width* and *height*, whatever its pixels are."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checked = name + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    pixels = zlib.compress(lines, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
