"""The images of conversations are fetched, decoded, or refused by the path of their part."""

import asyncio
import base64
import threading
from pathlib import Path

import pytest
from PIL import Image as pillow  # noqa: N813

from pilotlight.errors import ImagesUnsupported, InvalidImage, InvalidImageUrl, InvalidRequest
from pilotlight.generation.image_reading import ImageReader, RequestLimits
from pilotlight.generation.params import ChatPrompt, TextPrompt, TokensPrompt
from pilotlight.prompt.conversation import (
    Conversation,
    ImagePart,
    ImageReference,
    TextPart,
    ToolTurn,
    UserTurn,
)
from pilotlight.prompt.images.errors import FetchFailed
from pilotlight.prompt.images.fetch import ImageFetcher
from pilotlight.prompt.images.limits import ImageLimits
from pilotlight_backend import ModelFacts
from tests.prompt.images.files import corner, written

PNG = written(corner(), "PNG")
DATA = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


SEES, BLIND = (
    ModelFacts(
        path=Path("m"),
        architecture="fake",
        context_length=64,
        size_bytes=0,
        input_modalities=modalities,
    )
    for modalities in (("text", "image"), ("text",))
)


class Elsewhere(ImageFetcher):
    """Has files at addresses, and notes what was fetched."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("*",))
        self._files = files
        self.fetched: list[tuple[str, int]] = []

    async def fetch(self, url: str, max_bytes: int) -> bytes:
        self.fetched.append((url, max_bytes))
        if url not in self._files:
            raise FetchFailed("the image's host is unknown")
        return self._files[url]


def reader(fetcher: ImageFetcher | None = None, **limits: int) -> ImageReader:
    images, fetched = limits.pop("images", 3), limits.pop("fetched", 10_000)
    return ImageReader(
        ImageLimits(**limits), RequestLimits(images, fetched), fetcher or ImageFetcher(())
    )


def prompt(*sources: str, low: bool = False) -> ChatPrompt:
    parts = [ImageReference(one, f"at[{at}]", low_detail=low) for at, one in enumerate(sources)]
    turns = [UserTurn((TextPart("a"), *parts[:1])), ToolTurn(parts[1:], "c"), UserTurn(())]
    return ChatPrompt(Conversation(turns=turns))


async def read(reader: ImageReader, *prompts, facts=SEES):
    try:
        fetched = await reader.fetched(facts, prompts)
        return [await reader.decoded(one) for one in fetched]
    finally:
        await reader.close()


async def test_images_of_all_turns_are_decoded_in_their_places():
    (got,) = await read(reader(), prompt(DATA, DATA))
    first, second, _ = got.conversation.turns
    assert first.parts[0] == TextPart("a")
    assert [type(part) for part in (*first.parts[1:], *second.parts)] == [ImagePart] * 2
    assert first.parts[1].image.rgb == corner().tobytes()
    assert not [one for one in threading.enumerate() if one.name.startswith("image decoder")]


async def test_prompts_without_images_stay_as_they_are():
    prompts = [TextPrompt("a"), TokensPrompt((1,)), prompt()]
    made = await read(reader(), *prompts, facts=BLIND)
    assert all(one is other for one, other in zip(made, prompts, strict=True))


async def test_an_image_elsewhere_is_fetched():
    fetcher = Elsewhere({"https://a/1": PNG})
    (got,) = await read(reader(fetcher), prompt("https://a/1", DATA))
    assert [turn.parts[-1].image.width for turn in got.conversation.turns[:2]] == [48, 48]
    assert fetcher.fetched == [("https://a/1", 10_000)]


async def test_a_model_without_sight_refuses_before_anything_is_fetched():
    fetcher = Elsewhere({"https://a/1": PNG})
    with pytest.raises(ImagesUnsupported, match=r"^at\[0\]: the model reads text only") as refused:
        await read(reader(fetcher), prompt("https://a/1"), facts=BLIND)
    assert refused.value.param == "at[0]"
    assert not fetcher.fetched


async def test_more_images_than_allowed_are_refused():
    message = r"^at\[3\]: expected at most 3 images in a request, got 4"
    with pytest.raises(InvalidRequest, match=message):
        await read(reader(), prompt(*[DATA] * 4))


async def test_a_damaged_image_is_refused_by_its_path():
    cut_off = base64.b64encode(PNG[:-20]).decode()
    with pytest.raises(InvalidImage, match=r"^at\[1\]: the PNG image is cut off") as refused:
        await read(reader(), prompt(DATA, f"data:image/png;base64,{cut_off}"))
    assert refused.value.param == "at[1]"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://a/2", "the image's host is unknown"),
        ("http://a/1", "expected an https:// URL, or a data URL"),
        ("a.png", "expected an https:// URL, or a data URL"),
    ],
)
async def test_a_url_that_fails_is_refused_by_its_path(url, message):
    with pytest.raises(InvalidImageUrl, match=rf"^at\[1\]: {message}"):
        await read(reader(Elsewhere({"https://a/1": PNG})), prompt("https://a/1", url))


async def test_nothing_is_fetched_for_a_request_with_a_bad_url():
    fetcher = Elsewhere({"https://a/1": PNG})
    with pytest.raises(InvalidImageUrl):
        await read(reader(fetcher), prompt("https://a/1", "http://a/1"))
    assert not fetcher.fetched


async def test_fetched_images_share_a_limit():
    fetcher = Elsewhere({"https://a/1": PNG, "https://a/2": PNG})
    with pytest.raises(InvalidImageUrl, match=r"at\[1\]: the request's images have more than"):
        await read(reader(fetcher, fetched=len(PNG)), prompt("https://a/1", "https://a/2"))


async def test_low_detail_is_a_smaller_image():
    large = base64.b64encode(written(pillow.new("RGB", (2000, 1000)), "PNG")).decode()
    (got,) = await read(reader(), prompt(f"data:;base64,{large}", low=True))
    image = got.conversation.turns[0].parts[1].image
    assert (image.width, image.height) == (512, 256)


async def test_decoding_leaves_the_event_loop_free(monkeypatch):
    began, go = threading.Event(), threading.Event()

    def decode(*_):
        began.set()
        go.wait(10)
        raise AssertionError

    monkeypatch.setattr("pilotlight.generation.image_reading.decode", decode)
    task = asyncio.create_task(read(reader(), prompt(DATA)))
    await asyncio.to_thread(began.wait, 10)
    assert not task.done()  # and this line runs
    go.set()
    with pytest.raises(AssertionError):
        await task
