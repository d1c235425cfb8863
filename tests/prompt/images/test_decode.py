import hashlib
import struct
import subprocess
import sys
import time

import pytest
from PIL import Image as pillow  # noqa: N813

from pilotlight.prompt.images.decode import decode
from pilotlight.prompt.images.errors import ImageRefused
from pilotlight.prompt.images.limits import ImageLimits
from pilotlight_backend import Image
from tests.prompt.images.files import BLUE, RED, WHITE, corner, png_of, written

LIMITS = ImageLimits()
FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP"]


def pixel(image: Image, x: int, y: int) -> tuple[int, ...]:
    at = 3 * (y * image.width + x)
    return tuple(image.rgb[at : at + 3])


def near(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return all(abs(a - b) <= 8 for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_the_pixels_that_were_written(name):
    image = decode(written(corner(), name), LIMITS)
    assert (image.width, image.height) == (48, 32)
    assert near(pixel(image, 2, 2), RED)
    assert near(pixel(image, 45, 29), WHITE)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        *[("L", "PNG"), ("1", "PNG"), ("P", "PNG"), ("LA", "PNG"), ("CMYK", "JPEG")],
        *[("L", "JPEG"), ("RGBA", "WEBP"), ("L", "BMP"), ("1", "BMP")],
    ],
)
def test_every_mode_becomes_rgb(mode, name):
    image = decode(written(pillow.new("RGB", (8, 8), "white").convert(mode), name), LIMITS)
    assert near(pixel(image, 4, 4), WHITE)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (0x8000, 128), (0xFFFF, 255)])
def test_16_bits_of_grey_become_8(value, expected):
    lines = b"".join(b"\0" + struct.pack(">H", value) * 3 for _ in range(2))
    image = decode(png_of(3, 2, kind=0, depth=16, lines=lines), LIMITS)
    assert set(image.rgb) == {expected}


def test_the_same_pixels_in_two_formats_are_one_image():
    one, other = (decode(written(corner(), name), LIMITS) for name in ("PNG", "BMP"))
    assert one == other
    assert one.digest == hashlib.sha256(b"48 32 " + corner().tobytes()).digest()


def test_an_animation_is_its_first_frame():
    frames = [pillow.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green")]
    for name in ("GIF", "WEBP", "PNG"):
        data = written(frames[0], name, save_all=True, append_images=frames[1:])
        assert near(pixel(decode(data, LIMITS), 8, 8), RED), name


@pytest.mark.parametrize("name", ["PNG", "WEBP", "GIF"])
def test_white_is_behind_transparent_pixels(name):
    picture = pillow.new("RGBA", (16, 16), (0, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 8, 16))
    image = decode(written(picture, name), LIMITS)
    assert near(pixel(image, 12, 8), WHITE)
    assert near(pixel(image, 2, 8), BLUE)


def test_a_half_transparent_pixel_is_half_white():
    image = decode(written(pillow.new("RGBA", (4, 4), (0, 0, 255, 128)), "PNG"), LIMITS)
    assert near(pixel(image, 1, 1), (127, 127, 255))


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("tag", "size", "red"),
    [
        (1, (48, 32), (2, 2)),
        (2, (48, 32), (45, 2)),
        (3, (48, 32), (45, 29)),
        (4, (48, 32), (2, 29)),
        (5, (32, 48), (2, 2)),
        (6, (32, 48), (29, 2)),
        (7, (32, 48), (29, 45)),
        (8, (32, 48), (2, 45)),
        (9, (48, 32), (2, 2)),  # there is no such orientation
    ],
)
def test_the_exif_orientation_is_applied(name, tag, size, red):
    exif = pillow.Exif()
    exif[0x0112] = tag
    image = decode(written(corner(), name, exif=exif), LIMITS)
    assert (image.width, image.height) == size
    assert near(pixel(image, *red), RED)


def test_damaged_exif_is_ignored():
    damaged = b"Exif\0\0MM\0\x2a\xff\xff\xff\xff" + bytes(range(64))
    image = decode(written(corner(), "JPEG", exif=damaged), LIMITS)
    assert (image.width, image.height) == (48, 32)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "BMP"])
def test_a_large_image_is_scaled_down(name):
    image = decode(written(corner((1500, 500)), name), ImageLimits(max_side=600))
    assert (image.width, image.height) == (600, 200)
    assert near(pixel(image, 20, 20), RED)
    assert near(pixel(image, 590, 190), WHITE)


def test_scaling_keeps_a_pixel_of_a_thin_image():
    image = decode(written(pillow.new("RGB", (1, 5000), "red"), "PNG"), LIMITS)
    assert (image.width, image.height) == (1, 2048)


def test_an_image_at_the_limit_keeps_its_pixels():
    picture = corner((600, 200))
    assert decode(written(picture, "PNG"), ImageLimits(max_side=600)).rgb == picture.tobytes()


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_is_cut_off_is_refused(name):
    data = written(corner((20, 12)), name)
    # A GIF ends with two bytes behind its last pixel. A row of 20 pixels needs no padding in BMP.
    behind = 2 if name == "GIF" else 0
    for length in range(2, len(data) - behind):
        with pytest.raises(ImageRefused):
            decode(data[:length], LIMITS)


def test_a_progressive_jpeg_that_lacks_its_last_scan_is_refused():
    data = written(corner((200, 200)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(ImageRefused, match="cut off"):
        decode(data[:last], LIMITS)


def test_what_follows_an_image_is_ignored():
    for name in FORMATS:
        assert decode(written(corner(), name) + b"more", LIMITS).width == 48


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a PNG, JPEG, WebP, GIF or BMP image"),
        (b"placeholder", "expected a PNG, JPEG, WebP, GIF or BMP image"),
        (b"II*\0" + bytes(64), "expected a PNG, JPEG, WebP, GIF or BMP image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "expected a PNG, JPEG"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "expected a PNG, JPEG"),
        (b"P6 1 1 255\n\0\0\0", "expected a PNG, JPEG"),
        (b"\x89PNG\r\n\x1a\n", "the PNG image is damaged"),
        (png_of(0, 5), "has no pixels"),
        (b"GIF89a\x01\0\x01\0\0\0\0", "the GIF image is damaged or cut off"),
        (b"BM" + bytes(60), "has no pixels"),
    ],
)
def test_anything_else_is_refused(data, message):
    with pytest.raises(ImageRefused, match=message):
        decode(data, LIMITS)


def test_a_compressed_bmp_is_refused():
    data = bytearray(written(corner(), "BMP"))
    data[30] = 1  # BI_RLE8
    with pytest.raises(ImageRefused, match="compressed BMP"):
        decode(bytes(data), LIMITS)


def test_too_many_bytes_are_refused():
    with pytest.raises(ImageRefused, match=r"the image has 1,001 bytes, expected at most 1,000"):
        decode(bytes(1001), ImageLimits(max_bytes=1000))


def bombs() -> list[tuple[str, bytes]]:
    """Return small files whose headers say 10 gigapixels, or as many as the format can."""
    gif = bytearray(written(corner(), "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    bmp = bytearray(written(corner(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 100_000, -100_000)
    jpeg = bytearray(written(corner(), "JPEG"))
    sof = jpeg.index(b"\xff\xc0")
    jpeg[sof + 5 : sof + 9] = b"\xff\xff\xff\xff"
    webp = bytearray(written(corner().convert("RGBA"), "WEBP"))
    extended = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + b"\xff\xff\x01" * 2
    webp[12:12] = extended
    webp[4:8] = struct.pack("<I", len(webp) - 8)
    return [
        ("PNG", png_of(100_000, 100_000, lines=bytes(10_000_000))),
        ("GIF", bytes(gif)),
        ("BMP", bytes(bmp)),
        ("JPEG", bytes(jpeg)),
        ("WEBP", bytes(webp)),
    ]


@pytest.mark.parametrize(("name", "data"), bombs())
def test_a_decompression_bomb_is_refused_by_its_header(name, data):
    decode(written(corner(), name), LIMITS)  # Pillow is imported
    began = time.thread_time()
    with pytest.raises(ImageRefused, match=r"pixels, expected at most 25,000,000"):
        decode(data, LIMITS)
    assert time.thread_time() - began < 0.05  # to decode it takes seconds


def test_a_gif_frame_that_exceeds_the_size_in_the_header_is_refused():
    data = bytearray(written(corner(), "GIF"))
    at = data.index(b"\x2c", 13 + 3 * 2 ** ((data[10] & 7) + 1))  # the image descriptor
    for size in (b"\xff\xff\xff\xff", struct.pack("<HH", 6000, 6000)):
        data[at + 5 : at + 9] = size
        with pytest.raises(ImageRefused, match="expected at most 25,000,000"):
            decode(bytes(data), LIMITS)


def test_a_jpeg_of_thousands_of_scans_is_refused():
    data = written(corner((64, 64)), "JPEG", progressive=True)
    first, last = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    many = data[:last] + data[first:last] * 2000 + data[last:]
    with pytest.raises(ImageRefused, match="more than 100 scans"):
        decode(many, LIMITS)


def test_pillow_is_imported_with_the_first_image_and_without_its_other_formats():
    code = f"""
import sys
from pilotlight.prompt.images import decode
assert "PIL" not in sys.modules
try:
    decode.decode(b"none", decode.ImageLimits())
except decode.ImageRefused:
    pass
assert "PIL" not in sys.modules
decode.decode({written(corner(), "WEBP")!r}, decode.ImageLimits())
assert not {{"PIL.Jpeg2KImagePlugin", "PIL.EpsImagePlugin"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
