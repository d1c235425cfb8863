"""Requests with images, through a fake model that sees: it echoes what the user shows it."""

import base64
from typing import Any

import pytest

from tests.conftest import CHAT, FakeService, events
from tests.prompt.images.files import corner, png_of, written

DATA = base64.b64encode(written(corner(), "PNG")).decode()
URL = f"data:image/png;base64,{DATA}"
SEEN = "[image 48 x 32]"
TEXT = {"type": "text", "text": "hi"}
IMAGE = {"type": "image_url", "image_url": {"url": URL}}
BLOCK = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}
INPUT = {"type": "input_image", "image_url": URL}


@pytest.fixture
def sees(service: FakeService) -> FakeService:
    """Return a service whose model `m` sees, and takes 7 tokens an image."""
    service.write(image_tokens=7)
    return service


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": parts}


async def post(service: FakeService, path: str, status: int = 200, **fields: Any) -> dict[str, Any]:
    answer = await service.post({"model": "m"} | fields, path)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_the_models_that_see_are_listed(sees: FakeService):
    listed = await sees.client.get("/v1/models/m")
    assert listed.json()["input_modalities"] == ["text", "image"]


async def test_chat(sees: FakeService):
    answer = await post(sees, CHAT, messages=[user(TEXT, IMAGE)])
    assert SEEN in answer["choices"][0]["message"]["content"]
    blind = await post(sees, CHAT, messages=[user(TEXT)])
    images = answer["usage"]["prompt_tokens"] - blind["usage"]["prompt_tokens"]
    assert images == 7


async def test_chat_streamed(sees: FakeService):
    answer = await sees.post({"model": "m", "stream": True, "messages": [user(IMAGE)]})
    chunks = [chunk for chunk in events(answer.text) if chunk != "[DONE]"]
    assert SEEN in "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


async def test_responses(sees: FakeService):
    answer = await post(sees, "/v1/responses", input=[user(INPUT)])
    assert SEEN in str(answer["output"])


async def test_messages(sees: FakeService):
    answer = await post(sees, "/v1/messages", max_tokens=64, messages=[user(BLOCK, TEXT)])
    assert SEEN in str(answer["content"])


async def test_a_tool_result_with_an_image(sees: FakeService):
    messages = [
        user(TEXT),
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}],
        },
        user({"type": "tool_result", "tool_use_id": "c", "content": [BLOCK]}),
    ]
    counted = [
        await post(sees, "/v1/messages/count_tokens", messages=messages[:length])
        for length in (2, 3)
    ]
    around = len("<|im_start|>tool\n<|im_end|>\n")
    assert 7 < counted[1]["input_tokens"] - counted[0]["input_tokens"] <= 7 + around


async def test_the_same_picture_in_the_next_turn_is_cached(sees: FakeService):
    first = await post(sees, CHAT, messages=[user(IMAGE, TEXT)])
    answered = {"role": "assistant", "content": first["choices"][0]["message"]["content"]}
    bitmap = base64.b64encode(written(corner(), "BMP")).decode()  # the same pixels
    again = {"type": "image_url", "image_url": f"data:image/bmp;base64,{bitmap}"}
    second = await post(sees, CHAT, messages=[user(again, TEXT), answered, user(TEXT)])
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= first["usage"]["prompt_tokens"] - 1


async def test_tokenize_counts_images(sees: FakeService):
    counted = await post(sees, "/tokenize", messages=[user(IMAGE)])
    blind = await post(sees, "/tokenize", messages=[user({"type": "text", "text": ""})])
    assert counted["count"] - blind["count"] == 7


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (CHAT, lambda url, _: {"messages": [user(TEXT, {"type": "image_url", "image_url": url})]},
         "messages[0].content[1].image_url"),
        ("/v1/responses", lambda url, _: {"input": [user(INPUT | {"image_url": url})]},
         "input[0].content[0].image_url"),
        (
            "/v1/messages",
            lambda _, data: {
                "max_tokens": 8,
                "messages": [user(BLOCK | {"source": BLOCK["source"] | {"data": data}})],
            },
            "messages[0].content[0].source.data",
        ),
    ],
)  # fmt: skip
async def test_a_damaged_image_is_refused_by_its_path(sees: FakeService, path, fields, param):
    damaged = base64.b64encode(written(corner(), "PNG")[:-30]).decode()
    given = fields(f"data:image/png;base64,{damaged}", damaged)
    for more in ({}, {"stream": True}):
        error = (await post(sees, path, 400, **given, **more))["error"]
        assert error["message"] == f"{param}: the PNG image is cut off"
        assert error["type"] == "invalid_request_error"
        if path != "/v1/messages":  # Anthropic's shape has neither
            assert (error["code"], error["param"]) == ("invalid_image", param)


async def test_an_oversized_image_is_refused_if_asked(start: Any):
    service = await start(image_side=40)
    service.write(image_tokens=7)
    for choice, status in (("error", 400), ("downsize", 200)):
        block = BLOCK | {"transformations": {"oversized_image": choice}}
        fields = {"max_tokens": 64, "messages": [user(block)]}
        answer = await post(service, "/v1/messages", status, **fields)
        expected = "40 on its longer side" if status == 400 else "[image 40 x 27]"
        assert expected in str(answer)


async def test_a_bomb_is_refused(sees: FakeService):
    bomb = base64.b64encode(png_of(60_000, 60_000, lines=bytes(1_000_000))).decode()
    image = {"type": "image_url", "image_url": f"data:image/png;base64,{bomb}"}
    error = (await post(sees, CHAT, 400, messages=[user(image)]))["error"]
    assert "60,000 x 60,000 pixels, expected at most 25,000,000" in error["message"]


async def test_an_address_is_refused_by_default(sees: FakeService):
    image = {"type": "image_url", "image_url": {"url": "https://images.example/a.png?secret=1"}}
    error = (await post(sees, CHAT, 400, messages=[user(image)]))["error"]
    assert error["code"] == "invalid_image_url"
    assert "images are not fetched here; send a data URL" in error["message"]
    assert "secret" not in error["message"]


async def test_limits_are_settings(start: Any):
    service = await start(max_images=1, max_image_pixels=100)
    service.write(image_tokens=7)
    error = (await post(service, CHAT, 400, messages=[user(IMAGE, IMAGE)]))["error"]
    assert error["message"].endswith("expected at most 1 images in a request, got 2")
    error = (await post(service, CHAT, 400, messages=[user(IMAGE)]))["error"]
    assert error["message"].endswith("the image has 48 x 32 pixels, expected at most 100")


async def test_a_data_url_of_megabytes_fits_the_body(sees: FakeService):
    lines = b"".join(b"\0" + bytes(3 * 1000) for _ in range(1000))
    large = png_of(1000, 1000, lines=lines)
    padded = base64.b64encode(large + bytes(5_000_000)).decode()
    image = {"type": "image_url", "image_url": f"data:image/png;base64,{padded}"}
    answer = await post(sees, CHAT, messages=[user(image)])
    assert "[image 1000 x 1000]" in answer["choices"][0]["message"]["content"]
