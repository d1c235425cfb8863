"""Image files, and the base64 and addresses that they come as."""

import base64
import resource
from functools import cache

from hypothesis import strategies as st
from PIL import Image as pillow  # noqa: N813
from PIL import ImageDraw

from pilotlight.prompt.conversation import ImageReference
from pilotlight.prompt.images.decode import decode
from pilotlight.prompt.images.errors import FetchFailed, ImageRefused
from pilotlight.prompt.images.fetch import ImageFetcher
from pilotlight.prompt.images.limits import ImageLimits
from pilotlight.prompt.images.public_address import is_public
from pilotlight.prompt.images.sources import file_of, is_remote
from tests.fuzz.case import MEBIBYTE, bounded, case
from tests.fuzz.strategies import damaged, text_of
from tests.prompt.images.files import png_of, written

_LIMITS = ImageLimits(max_bytes=200_000, max_pixels=4_000_000, max_side=128)
_MOST_MEMORY = 200 * MEBIBYTE
"""That decoding may add to the process: Pillow's own memory, which tracemalloc does not see."""


def _picture(mode: str) -> pillow.Image:
    picture = pillow.new("RGB", (37, 23), "white")
    ImageDraw.Draw(picture).ellipse((4, 4, 30, 20), fill="red", outline="blue")
    return picture.convert(mode)


def _files() -> list[bytes]:
    """Return a valid file of each format and mode, with metadata and frames among them."""
    exif = pillow.Exif()
    exif[0x0112] = 6
    frames = [_picture("RGB"), pillow.new("RGB", (37, 23), "green")]
    animated = {"save_all": True, "append_images": frames[1:]}
    return [
        *[written(_picture(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
        written(_picture("RGB"), "PNG", exif=exif, **animated),
        *[written(_picture(mode), "JPEG", exif=exif) for mode in ("L", "RGB", "CMYK")],
        written(_picture("RGB"), "JPEG", progressive=True),
        *[written(_picture(mode), "WEBP", exif=exif) for mode in ("RGB", "RGBA")],
        written(_picture("RGBA"), "WEBP", lossless=True),
        written(_picture("RGB"), "WEBP", **animated),
        *[written(_picture(mode), "GIF") for mode in ("1", "L", "P", "RGBA")],
        written(_picture("RGB"), "GIF", **animated),
        *[written(_picture(mode), "BMP") for mode in ("1", "L", "P", "RGB", "RGBA")],
        png_of(1999, 1999, lines=bytes(6_000_000)),
    ]


_FILES = _files()
_KINDS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8X", b"GIF89a", b"BM")


@cache
def _memory_at_the_start() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@case(
    "image files",
    short=120,
    data=st.sampled_from(_FILES).flatmap(lambda whole: damaged(whole, 64))
    | st.sampled_from(_FILES)
    | st.tuples(st.sampled_from(_KINDS), st.binary(max_size=200)).map(b"".join)
    | st.binary(max_size=100),
)
def image_files(data: bytes) -> None:
    """Pixels within the limits, or `ImageRefused` with a line for the client."""
    before = _memory_at_the_start()
    with bounded():
        try:
            image = decode(data, _LIMITS)
        except ImageRefused as error:
            assert str(error).isprintable()
        else:
            assert max(image.width, image.height) <= _LIMITS.max_side
            assert len(image.rgb) == 3 * image.width * image.height
            assert decode(data, _LIMITS) == image
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert peak - before <= _MOST_MEMORY, f"it took {peak - before} bytes of memory"


_BASE64 = base64.b64encode(_FILES[0]).decode()
_WORDS = ("data:", "image/png", ";base64", ",", _BASE64, "=", "\n", " ", "https://", "a", "é", "%")


@case("image sources", short=100, source=text_of(_WORDS) | st.text(), alone=st.booleans())
def image_sources(source: str, alone: bool) -> None:  # noqa: FBT001
    """The bytes of a file, or an error; base64 alone is never an address."""
    image = ImageReference(source, "at", base64=alone)
    assert source not in repr(image) or len(source) < len(repr(image))
    with bounded():
        if is_remote(image):
            assert not alone
            return
        try:
            assert len(file_of(image, 10_000)) <= 11_000
        except ImageRefused as error:
            assert str(error)


_URL = ("https://", "http://", "a.example", "@", ":", "443", "8443", "/", "[::1]", "127.0.0.1", "%")
_HOSTS = (("a.example",), ("*",), ("*.example",), ())


@case("image addresses", short=100, url=text_of(_URL) | st.text(), hosts=st.sampled_from(_HOSTS))
def image_addresses(url: str, hosts: tuple[str, ...]) -> None:
    """Allowed, or `FetchFailed`; nothing is allowed that is no `https://` URL."""
    with bounded():
        try:
            ImageFetcher(hosts).check(url)
        except FetchFailed as error:
            assert str(error)
        else:
            assert hosts
            assert url.lower().startswith("https://")


@case("public addresses", short=50, address=st.ip_addresses().map(str) | st.text())
def public_addresses(address: str) -> None:
    """True or false, whatever is asked."""
    with bounded():
        assert is_public(address) in (True, False)


CASES = (image_files, image_sources, image_addresses, public_addresses)
