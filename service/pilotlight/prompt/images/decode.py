"""An image file to pixels: upright, without transparency, no larger than models need.

Pillow is imported with the first image. It gets a file only after `headers` has read the format and
size, and only the decoder of that format.
"""

import warnings
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING

from pilotlight.prompt.images.errors import ImageRefused
from pilotlight.prompt.images.headers import Format, read_header
from pilotlight.prompt.images.limits import ImageLimits
from pilotlight_backend import Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.Image import Transpose
    from PIL.ImageFile import ImageFile

_ORIENTATION = 0x0112
"""EXIF's tag: where the first row and column of the stored image are."""
_WIDE_GREY = ("I;16", "I;16B", "I;16L", "I")
"""Pillow's modes of 16-bit greyscale; its conversion to 8 bits cuts bright values off."""


def decode(data: bytes, limits: ImageLimits) -> Image:
    """Return the pixels of the file *data*, of an animation the first frame's.

    The image is upright by its EXIF orientation, on white where it is transparent, and scaled down
    to *limits*. Raises `ImageRefused`. Takes up to a second: run it on a thread.
    """
    if len(data) > limits.max_bytes:
        raise ImageRefused(
            f"the image has {len(data):,} bytes, expected at most {limits.max_bytes:,}"
        )
    header = read_header(data)
    _check_pixels(header.width, header.height, limits)
    try:
        with _opened(data, header.format, limits) as file:
            _check_pixels(file.width, file.height, limits)  # Pillow refuses twice as many
            _check_side(file.width, file.height, limits)
            picture = _upright(_scaled(file, limits.max_side), _orientation(file))
        return Image.of(picture.width, picture.height, picture.tobytes())
    except ImageRefused:
        raise
    except MemoryError:
        raise
    except Exception as error:
        raise ImageRefused(f"the {header.format} image is damaged or cut off") from error


def _check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    if width * height > limits.max_pixels:
        raise ImageRefused(
            f"the image has {width:,} x {height:,} pixels, expected at most {limits.max_pixels:,}"
        )


def _check_side(width: int, height: int, limits: ImageLimits) -> None:
    if not limits.scales and max(width, height) > limits.max_side:
        raise ImageRefused(
            f"the image has {width:,} x {height:,} pixels, expected at most {limits.max_side:,} on"
            " its longer side"
        )


def _opened(data: bytes, name: Format, limits: ImageLimits) -> "ImageFile":
    """Return *data* opened by the reader of its format alone; pixels are read later."""
    from PIL import Image as pillow  # noqa: N813, PLC0415 - the package's entry, no class

    # It registers its format. Pillow imports the others' plugins itself, but for WebP all forty.
    import_module("PIL.WebPImagePlugin")

    # It warns of damaged metadata, which does not matter here. Set each time: a filter is global.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    pillow.MAX_IMAGE_PIXELS = limits.max_pixels
    try:
        return pillow.open(BytesIO(data), formats=[name])
    except pillow.DecompressionBombError:  # a GIF's frame can exceed the size in its header
        raise ImageRefused(f"expected at most {limits.max_pixels:,} pixels") from None


def _scaled(file: "ImageFile", max_side: int) -> "Picture":
    """Read the pixels of *file*, on white, and scale them down to *max_side*."""
    from PIL.Image import Resampling  # noqa: PLC0415

    scale = max_side / max(file.size)
    size = file.width, file.height
    if scale < 1:
        size = max(1, round(file.width * scale)), max(1, round(file.height * scale))
        file.draft(None, size)  # JPEG: the decoder makes an eighth, quarter or half of the size
    picture = _rgb(file)
    if picture.size == size:
        return picture
    return picture.resize(size, Resampling.BICUBIC, reducing_gap=2.0)


def _rgb(file: "Picture") -> "Picture":
    """Return *file* as RGB. White is behind transparent pixels, as on a page.

    Graphics with transparency are mostly dark on nothing; without it, what is under transparent
    pixels would show, which is often black.
    """
    if file.mode in _WIDE_GREY:
        file = file.point(lambda value: value / 256).convert("L")
    if not file.has_transparency_data:
        return file.convert("RGB")
    from PIL import Image as pillow  # noqa: N813, PLC0415

    layered = file.convert("RGBA")
    flat = pillow.new("RGB", file.size, "white")
    flat.paste(layered, mask=layered.getchannel("A"))
    return flat


def _orientation(file: "ImageFile") -> "Transpose | None":
    """Return how to turn the pixels of *file*; None if they are upright, or EXIF is damaged."""
    from PIL.Image import Transpose  # noqa: PLC0415

    try:
        tag = file.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 - as for pixels; metadata does not make an image unusable
        return None
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return turns.get(tag) if isinstance(tag, int) else None


def _upright(picture: "Picture", turn: "Transpose | None") -> "Picture":
    return picture if turn is None else picture.transpose(turn)
