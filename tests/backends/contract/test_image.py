"""A picture is its pixels: equal ones are one, and its pixels never reach a log."""

import msgspec
import pytest

from pilotlight_backend import Image

RED = b"\xff\x00\x00"


def test_images_of_the_same_pixels_are_equal_and_have_one_digest():
    one, other = Image.of(2, 1, RED * 2), Image.of(2, 1, RED * 2)

    assert one == other
    assert hash(one) == hash(other)
    assert one.digest == other.digest


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Image.of(1, 2, RED * 2), id="the same bytes in another shape"),
        pytest.param(Image.of(2, 1, RED + b"\xff\x00\x01"), id="one bit of one pixel"),
        pytest.param(RED * 2, id="bytes"),
    ],
)
def test_other_images_are_not_equal(other):
    assert Image.of(2, 1, RED * 2) != other


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(2, 1, 5), (2, 1, 7), (0, 1, 0), (1, 0, 0), (-1, -1, 3), (0, 0, 0)],
)
def test_pixels_that_are_not_of_the_size_are_refused(width, height, size):
    with pytest.raises(ValueError, match=f"{width} x {height} pixels.*got {size} bytes"):
        Image.of(width, height, bytes(size))


def test_an_image_crosses_a_pipe():
    image = Image.of(2, 1, RED * 2)

    there = msgspec.msgpack.decode(msgspec.msgpack.encode(image), type=Image)

    assert (there, there.rgb) == (image, image.rgb)


def test_an_image_from_a_pipe_is_checked():
    damaged = {"width": 9, "height": 9, "rgb": RED, "digest": bytes(32)}

    with pytest.raises(msgspec.ValidationError, match="9 x 9 pixels"):
        msgspec.msgpack.decode(msgspec.msgpack.encode(damaged), type=Image)


def test_the_representation_has_no_pixels():
    assert repr(Image.of(40, 40, RED * 1600)).startswith("Image(40 x 40, ")
    assert len(repr(Image.of(40, 40, RED * 1600))) < 60
