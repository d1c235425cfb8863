import base64

import pytest

from pilotlight.prompt.conversation import ImageReference
from pilotlight.prompt.images.errors import ImageRefused
from pilotlight.prompt.images.sources import file_of, is_remote

FILE = bytes(range(256)) * 3
TEXT = base64.b64encode(FILE).decode()


def url(source: str | bytes) -> ImageReference:
    return ImageReference(source, "image")


def text(source: str) -> ImageReference:
    return ImageReference(source, "image", base64=True)


@pytest.mark.parametrize(
    "image",
    [
        url(FILE),
        text(TEXT),
        text(TEXT.rstrip("=")),
        text(base64.encodebytes(FILE).decode()),
        url(f"data:image/png;base64,{TEXT}"),
        url(f"DATA:image/png;name=a.png;BASE64,{TEXT}"),
        url(f"data:;base64,{TEXT}"),
    ],
)
def test_the_file_is_what_was_encoded(image):
    assert file_of(image, len(FILE)) == FILE
    assert not is_remote(image)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (url("data:image/png,%89PNG"), "expected a data URL of base64"),
        (url("data:image/png;base64"), "expected a data URL of base64"),
        (url(f"data:{'a' * 5000};base64,{TEXT}"), "expected a data URL of base64"),
        (url("data:image/png;base64,????"), "not valid base64"),
        (url("data:image/png;base64,AAA=AAAA"), "not valid base64"),
        (url("data:image/png;base64,é"), "not valid base64"),
        (text("placeholder!"), "not valid base64"),
        (text("https://images.example/a.png"), "not valid base64"),
        (text("A" * 2000), r"about 1,500 bytes, expected at most 1,000"),
    ],
)
def test_anything_else_is_refused(image, message):
    with pytest.raises(ImageRefused, match=message):
        file_of(image, 1000)


@pytest.mark.parametrize(
    "source", ["https://example.com/a.png", "http://a", "file:///etc/passwd", "example.com/a.png"]
)
def test_a_url_is_elsewhere(source):
    assert is_remote(url(source))


def test_an_image_is_not_shown_in_logs():
    assert TEXT[:20] not in repr(url(f"data:image/png;base64,{TEXT}"))
