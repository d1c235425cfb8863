"""Image parts of the three APIs as images of a conversation, or the error that names the part."""

from typing import Any

import msgspec
import pytest

from pilotlight.api.endpoints.chat.conversation import chat_conversation
from pilotlight.api.endpoints.messages.conversation import conversation_of as of_messages
from pilotlight.api.endpoints.responses.conversation import conversation_of as of_response
from pilotlight.api.http.bodies import BodyDecoder
from pilotlight.errors import InvalidRequest
from pilotlight.prompt.conversation import (
    Conversation,
    ImageReference,
    TextPart,
    image_references,
)
from pilotlight.schema.chat.request import ChatCompletionRequest
from pilotlight.schema.messages.request import MessagesRequest
from pilotlight.schema.responses.request import ResponseRequest
from tests.conftest import FakeService

URL = "data:image/png;base64,AAAA"


def chat(*messages: Any) -> Conversation:
    body = {"model": "m", "messages": messages}
    decoder = BodyDecoder(ChatCompletionRequest)
    asked = decoder.decode(msgspec.json.encode(body), ignore_unknown=False)
    return chat_conversation(asked.messages)


def response(*items: Any) -> Conversation:
    decoder = BodyDecoder(ResponseRequest)
    body = msgspec.json.encode({"model": "m", "input": items})
    return of_response(decoder.decode(body, ignore_unknown=False), ())


def messages(*turns: Any) -> Conversation:
    decoder = BodyDecoder(MessagesRequest)
    body = msgspec.json.encode({"model": "m", "max_tokens": 1, "messages": turns})
    return of_messages(decoder.decode(body, ignore_unknown=False), ())


def image(source: str, param: str, **fields: bool) -> ImageReference:
    return ImageReference(source, param, **fields)


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": parts}


TEXT = {"type": "text", "text": "hi"}
CHAT = {"type": "image_url", "image_url": {"url": URL}}
INPUT = {"type": "input_image", "image_url": URL}
BASE64 = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
LINK = {"type": "image", "source": {"type": "url", "url": "https://a/b"}}


@pytest.mark.parametrize(
    ("conversation", "expected"),
    [
        (lambda: chat(user(TEXT, CHAT)), [image(URL, "messages[0].content[1].image_url.url")]),
        (
            lambda: chat(user({"type": "image_url", "image_url": URL})),
            [image(URL, "messages[0].content[0].image_url")],
        ),
        (
            lambda: chat(user({"type": "image_url", "image_url": {"url": URL, "detail": "low"}})),
            [image(URL, "messages[0].content[0].image_url.url", low_detail=True)],
        ),
        (
            lambda: chat(
                user(CHAT, CHAT),
                {"role": "assistant", "content": "a"},
                {"role": "tool", "tool_call_id": "c", "content": [TEXT, CHAT]},
            ),
            [
                image(URL, "messages[0].content[0].image_url.url"),
                image(URL, "messages[0].content[1].image_url.url"),
                image(URL, "messages[2].content[1].image_url.url"),
            ],
        ),
        (
            lambda: response({"role": "user", "content": [INPUT | {"detail": "low"}]}),
            [image(URL, "input[0].content[0].image_url", low_detail=True)],
        ),
        (
            lambda: response(
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": [INPUT]},
            ),
            [image(URL, "input[1].output[0].image_url")],
        ),
        (
            lambda: messages(user(TEXT, BASE64, LINK)),
            [
                image("AAAA", "messages[0].content[1].source.data", base64=True),
                image("https://a/b", "messages[0].content[2].source.url"),
            ],
        ),
        (
            lambda: messages(
                user({"type": "tool_result", "tool_use_id": "c", "content": [TEXT, BASE64]}),
                user(
                    {"type": "tool_result", "tool_use_id": "d", "content": [LINK], "is_error": True}
                ),
            ),
            [
                image("AAAA", "messages[0].content[0].content[1].source.data", base64=True),
                image("https://a/b", "messages[1].content[0].content[0].source.url"),
            ],
        ),
    ],
)
def test_images_are_known_by_their_path(conversation, expected):
    assert image_references(conversation().turns) == expected


def test_images_keep_their_place_among_texts():
    (turn,) = messages(user(TEXT), user(LINK, TEXT)).turns  # two turns of one role become one
    kinds = [type(part) for part in turn.parts]
    assert kinds == [TextPart, ImageReference, TextPart]


_ROLES = "images are allowed in messages of the user's and in results of tools only"


@pytest.mark.parametrize(
    ("conversation", "message"),
    [
        (
            lambda: chat({"role": "system", "content": [CHAT]}, user(TEXT)),
            "messages[0].content[0].type: invalid value 'image_url'",
        ),
        (
            lambda: chat(user(TEXT), {"role": "assistant", "content": [CHAT]}),
            f"messages[1].content[0].type: invalid value 'image_url'; {_ROLES}",
        ),
        (
            lambda: chat(user({"type": "image_url", "image_url": {"url": ""}})),
            "messages[0].content[0].image_url.url: expected a string of at least 1 character",
        ),
        (
            lambda: chat(user({"type": "image_url", "image_url": {"uri": URL}})),
            "messages[0].content[0].image_url.uri: there is no such field",
        ),
        (
            lambda: chat(user({"type": "image_url", "image_url": {"url": URL, "detail": "much"}})),
            "messages[0].content[0].image_url.detail: invalid value 'much'",
        ),
        (
            lambda: chat(user({"type": "input_audio", "input_audio": {}})),
            "messages[0].content[0].type: invalid value 'input_audio'; input is text and images",
        ),
        (
            lambda: response({"role": "system", "content": [INPUT]}),
            f"input[0].content[0].type: {_ROLES}",
        ),
        (
            lambda: response({"role": "assistant", "content": [INPUT]}),
            f"input[0].content[0].type: {_ROLES}",
        ),
        (
            lambda: response(
                {"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}
            ),
            "input[0].content[0].file_id: no file is stored; send the image as `image_url`",
        ),
        (
            lambda: response({"role": "user", "content": [{"type": "input_image"}]}),
            "input[0].content[0].image_url: this field is required",
        ),
        (
            lambda: messages(
                user({"type": "image", "source": {"type": "file", "file_id": "file_1"}})
            ),
            "messages[0].content[0].source.type: invalid value 'file'",
        ),
        (
            lambda: messages(
                user({"type": "image", "source": BASE64["source"] | {"media_type": "image/tiff"}})
            ),
            "messages[0].content[0].source.media_type: invalid value 'image/tiff'",
        ),
    ],
)
def test_a_wrong_part_is_refused_by_its_path(conversation, message):
    with pytest.raises(InvalidRequest) as refused:
        conversation()
    assert str(refused.value).startswith(message)


async def test_a_model_that_reads_text_only_says_so(service: FakeService):
    listed = (await service.client.get("/v1/models/m")).json()
    assert listed["input_modalities"] == ["text"]
    of_chat = "messages[0].content[0].image_url.url"
    for path, body, param in (
        ("/v1/chat/completions", {"messages": [user(CHAT)]}, of_chat),
        ("/v1/responses", {"input": [user(INPUT)]}, "input[0].content[0].image_url"),
        ("/tokenize", {"messages": [user(CHAT)]}, of_chat),
        (
            "/v1/messages/count_tokens",
            {"messages": [user(BASE64)]},
            "messages[0].content[0].source.data",
        ),
    ):
        answer = await service.client.post(path, json={"model": "m"} | body)
        assert answer.status_code == 400, path
        error = answer.json()["error"]
        assert error["message"] == (
            f"{param}: the model reads text only; expected a model whose input_modalities in"
            " GET /v1/models have image"
        ), path
        if "messages/" not in path:  # Anthropic's shape has no code
            assert (error["code"], error["param"]) == ("images_unsupported", param)
