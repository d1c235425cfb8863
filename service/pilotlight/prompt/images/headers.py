"""What an image file says about itself, read before a decoder sees it: format, size, end.

Decoders allocate by the header, and some accept a file that was cut off. Here both are checked in
plain Python on bytes, in time that the length of the file bounds.
"""

import re
import struct
from collections.abc import Callable
from typing import Literal, TypeAlias

from msgspec import Struct

from pilotlight.prompt.images.errors import ImageRefused

Format: TypeAlias = Literal["PNG", "JPEG", "WEBP", "GIF", "BMP"]
"""The formats, by Pillow's names."""

_MAX_SCANS = 100
"""Of a progressive JPEG: encoders write about ten, and each costs a pass over all blocks.

A file of 1 MB can have thousands; libjpeg-turbo leaves the limit to its callers (its wiki,
"Two issues with the JPEG standard").
"""
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_JPEG_MARKER_IN_SCAN = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
"""In entropy-coded data 0xFF00 is a byte of data, and 0xFFD0 to 0xFFD7 restart the decoder."""
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_SIZES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""SOF0 to SOF15, without the three markers among them that define tables."""
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_BMP_CORE_HEADER = 12
_BMP_UNCOMPRESSED = frozenset({0, 3, 6})
"""BI_RGB, BI_BITFIELDS and BI_ALPHABITFIELDS."""


class Header(Struct, frozen=True):
    """A file's format and size in pixels."""

    format: Format
    width: int
    height: int


def read_header(data: bytes) -> Header:
    """Return the header of *data*; raises `ImageRefused` where it is of no format, or cut off."""
    for matches, name, read in _FORMATS:
        if matches(data):
            try:
                width, height = read(data)
            except (struct.error, IndexError):
                raise _cut_off(name) from None
            if not width or not height:
                raise ImageRefused(f"the {name} image has no pixels")
            return Header(name, width, height)
    raise ImageRefused("expected a PNG, JPEG, WebP, GIF or BMP image")


def _cut_off(name: Format) -> ImageRefused:
    return ImageRefused(f"the {_NAMES[name]} image is cut off")


def _png(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise ImageRefused("the PNG image is damaged: it does not begin with IHDR")
    width, height = struct.unpack_from(">II", data, 16)
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length  # length, type, data, CRC
    if at > len(data):
        raise _cut_off("PNG")
    return width, height


def _jpeg(data: bytes) -> tuple[int, int]:
    size, scans, at, marker = (0, 0), 0, 2, _SOI
    while marker != _EOI:
        pattern = _JPEG_MARKER_IN_SCAN if marker == _SOS else _JPEG_MARKER
        found = pattern.search(data, at)
        if found is None:
            raise _cut_off("JPEG")
        at, marker = found.end(), found[1][0]
        if marker in _WITHOUT_LENGTH or marker == _EOI:
            continue
        if marker in _SIZES and size == (0, 0):
            height, width = struct.unpack_from(">HH", data, at + 3)
            size = width, height
        if marker == _SOS:
            scans += 1
            if scans > _MAX_SCANS:
                raise ImageRefused(f"the JPEG image has more than {_MAX_SCANS} scans")
        at += struct.unpack_from(">H", data, at)[0]
    return size


def _webp(data: bytes) -> tuple[int, int]:
    if 8 + int(struct.unpack_from("<I", data, 4)[0]) > len(data):
        raise _cut_off("WEBP")
    match data[12:16]:
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b"VP8L":
            bits = struct.unpack_from("<I", data, 21)[0]
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            width, height = data[24:27], data[27:30]
            if len(height) < 3:  # noqa: PLR2004 - three bytes, as the slice says
                raise _cut_off("WEBP")
            return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    raise ImageRefused("the WebP image is damaged: its first chunk is unknown")


def _gif(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _bmp(data: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", data, 14)
    if header == _BMP_CORE_HEADER:
        width, height = struct.unpack_from("<HH", data, 18)
        return width, height
    width, height = struct.unpack_from("<ii", data, 18)
    (compression,) = struct.unpack_from("<I", data, 30)
    if compression not in _BMP_UNCOMPRESSED:
        # Pillow decodes run lengths in Python, byte by byte, and pads what is cut off.
        raise ImageRefused("a compressed BMP image is not supported; send it as PNG")
    return max(0, width), abs(height)  # from the top where the height is negative


_NAMES: dict[Format, str] = {
    "PNG": "PNG",
    "JPEG": "JPEG",
    "WEBP": "WebP",
    "GIF": "GIF",
    "BMP": "BMP",
}
_FORMATS: tuple[tuple[Callable[[bytes], bool], Format, Callable[[bytes], tuple[int, int]]], ...] = (
    (lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), "PNG", _png),
    (lambda data: data.startswith(b"\xff\xd8\xff"), "JPEG", _jpeg),
    (lambda data: data.startswith(b"RIFF") and data[8:12] == b"WEBP", "WEBP", _webp),
    (lambda data: data.startswith((b"GIF87a", b"GIF89a")), "GIF", _gif),
    (lambda data: data.startswith(b"BM"), "BMP", _bmp),
)
