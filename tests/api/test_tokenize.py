"""Texts to tokens and back, over the fake backend: a token for each byte, then special ones."""

import asyncio
from typing import Any

import pytest

from pilotlight.schema.tokens import TokenizeRequest
from pilotlight_backend.testing.fake import Piece
from tests.api.caller import Call
from tests.api.tables import documented
from tests.conftest import FakeService, chat

IM_START, IM_END = 256, 257
USER = {"role": "user", "content": "hi"}
BEGUN = {"role": "assistant", "content": "Well"}


async def post(service: FakeService, path: str, fields: dict[str, Any], **headers: str) -> Any:
    return await service.client.post(path, json={"model": "m"} | fields, headers=headers)


async def tokenized(service: FakeService, **fields: Any) -> dict[str, Any]:
    response = await post(service, "/tokenize", fields)
    assert response.status_code == 200, response.text
    return response.json()


async def refused(service: FakeService, path: str, **fields: Any) -> dict[str, Any]:
    response = await post(service, path, fields)
    assert response.status_code == 400, response.text
    return response.json()["error"]


async def text(service: FakeService, **fields: Any) -> str:
    """Return the text of the tokens that *fields* come to."""
    tokens = (await tokenized(service, **fields))["tokens"]
    answer = (await post(service, "/detokenize", {"tokens": tokens})).json()
    assert answer["content"] == answer["prompt"]
    return answer["content"]


@pytest.fixture
async def begins(start: Any) -> FakeService:
    """Return a service whose model's texts begin with `<s>`."""
    service = await start()
    service.write(bos_token="<s>", add_bos=True)  # noqa: S106 - a special token
    return service


# ── texts ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["content", "prompt"])
async def test_a_text(service, name):
    """Its tokens, how many they are, and the context's length; in either server's word for it."""
    assert await tokenized(service, **{name: "Hi"}) == {
        "tokens": [72, 105],
        "count": 2,
        "max_model_len": 4096,
        "token_strs": None,
    }


async def test_an_empty_text(service):
    """It has no tokens, and they no text."""
    assert (await tokenized(service, content=""))["tokens"] == []
    assert (await post(service, "/detokenize", {"tokens": []})).json()["content"] == ""


async def test_the_contexts_length_is_the_one_in_force(start):
    """What the settings say, and not what the model was trained with."""
    service = await start(context_length=64)
    service.write()
    assert (await tokenized(service, content="Hi"))["max_model_len"] == 64


async def test_names_of_special_tokens(service):
    """They are those tokens, unless `parse_special` is false."""
    text = "<|im_end|>"
    assert (await tokenized(service, content=text))["tokens"] == [IM_END]
    plain = await tokenized(service, prompt=text, parse_special=False)
    assert plain["tokens"] == list(text.encode())


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"content": "Hi"}, "Hi"),
        ({"content": "Hi", "add_special": True}, "<s>Hi"),
        ({"content": "Hi", "add_special_tokens": True}, "<s>Hi"),
        ({"prompt": "Hi"}, "<s>Hi"),
        ({"prompt": ""}, "<s>"),
        ({"prompt": "Hi", "add_special_tokens": False}, "Hi"),
        ({"prompt": "Hi", "add_special": False}, "Hi"),
        ({"prompt": "<s>Hi"}, "<s>Hi"),
        ({"prompt": "<s>Hi", "parse_special": False}, "<s><s>Hi"),
        ({"content": "Hi", "add_special": True, "add_special_tokens": True}, "<s>Hi"),
    ],
)
async def test_the_token_that_texts_begin_with(begins, fields, told):
    """As each server has it: before a `prompt`, not before a `content`, where nothing is said."""
    assert await text(begins, **fields) == told


async def test_the_token_before_a_text_that_only_looks_like_it(begins):
    """It is one token; the same name within the text is not."""
    tokens = (await tokenized(begins, prompt="<s>", parse_special=False))["tokens"]
    assert len(tokens) == 1 + len("<s>")


async def test_a_prompt_is_what_completions_evaluate(begins):
    """To the token."""
    tokens = (await tokenized(begins, prompt="Hi"))["tokens"]
    await begins.client.post("/v1/completions", json={"model": "m", "prompt": "Hi"})
    assert begins.engine.requests[-1].prompt == tuple(tokens)


async def test_pieces(start):
    """A piece is text, or its bytes where it is a piece of a character."""
    service = await start()
    service.write(reply=("ab", Piece(b"\xe2\x82")))
    answer = await tokenized(service, content="é!", with_pieces=True, return_token_strs=True)
    assert answer["tokens"] == [
        {"id": 195, "piece": [195]},
        {"id": 169, "piece": [169]},
        {"id": 33, "piece": "!"},
    ]
    assert answer["token_strs"] == ["\N{REPLACEMENT CHARACTER}", "\N{REPLACEMENT CHARACTER}", "!"]
    assert answer["count"] == 3


async def test_a_long_text(service):
    """A text that is tokenised in a thread is the same."""
    long = "x" * 20_000
    assert (await tokenized(service, content=long))["count"] == 20_000
    assert await text(service, content=long) == long


# ── conversations ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [USER]},
        {"messages": [USER, BEGUN]},
        {"messages": [USER], "chat_template_kwargs": {"enable_thinking": False}},
        {"messages": [USER], "tools": [{"type": "function", "function": {"name": "add"}}]},
    ],
)
async def test_messages_are_what_chat_evaluates(service, fields):
    """To the token, with all that the template is given."""
    tokens = (await tokenized(service, **fields))["tokens"]
    await service.ask(**fields)
    assert service.engine.requests[-1].prompt == tuple(tokens)


HI = "<|im_start|>user\nhi<|im_end|>\n"
WELL = "<|im_start|>assistant\nWell<|im_end|>\n"
ANSWER = "<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("messages", "fields", "told"),
    [
        ([USER], {"add_generation_prompt": True}, HI + ANSWER),
        ([USER], {"add_generation_prompt": False}, HI),
        ([USER], {"continue_final_message": False}, HI + ANSWER),
        ([USER, BEGUN], {"continue_final_message": False}, HI + WELL + ANSWER),
        ([USER, BEGUN], {"add_generation_prompt": False}, HI + WELL),
        (
            [USER, BEGUN],
            {"add_generation_prompt": False, "continue_final_message": True},
            HI + ANSWER + "<think>\n\n</think>\n\nWell",
        ),
    ],
)
async def test_how_a_conversation_ends(service, messages, fields, told):
    """Whether an answer is begun, and whether it is the last message."""
    assert await text(service, messages=messages, **fields) == told


async def test_a_conversation_that_is_not_gone_on_from_keeps_its_variables(service):
    """The template is given them in either case."""
    fields = {"chat_template_kwargs": {"enable_thinking": False}, "continue_final_message": False}
    told = await text(service, messages=[USER, BEGUN], **fields)
    assert told == HI + WELL + ANSWER + "<think>\n\n</think>\n\n"


async def test_pieces_of_a_conversation(service):
    """Special tokens are spelled out."""
    answer = await tokenized(service, messages=[USER], with_pieces=True)
    assert answer["tokens"][0] == {"id": IM_START, "piece": "<|im_start|>"}


async def test_a_model_without_a_chat_template(start):
    """It has tokens for texts, and none for conversations."""
    service = await start()
    service.write(chat_template=None)
    assert (await tokenized(service, prompt="Hi"))["count"] == 2
    assert (await refused(service, "/tokenize", messages=[USER]))["param"] == "model"


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────


async def test_tokens_to_text(start):
    """Characters are assembled, special tokens spelled out, and what is no UTF-8 is U+FFFD."""
    service = await start()
    service.write()
    response = await post(service, "/detokenize", {"tokens": [195, 169, IM_END, 195]})
    told = "é<|im_end|>\N{REPLACEMENT CHARACTER}"
    assert response.json() == {"content": told, "prompt": told}


@pytest.mark.parametrize(
    ("tokens", "param"),
    [
        ([72, 99999], "tokens[1]"),
        ([-1], "tokens[0]"),
        ([72, 2**40], "tokens[1]"),
        (["72"], "tokens[0]"),
        ("72", "tokens"),
        (None, "tokens"),
    ],
)
async def test_tokens_that_are_none(service, tokens, param):
    """The error has the path of the token at fault."""
    assert (await refused(service, "/detokenize", tokens=tokens))["param"] == param


# ── what is refused ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "content"),
        ({"content": "a", "prompt": "b"}, "prompt"),
        ({"prompt": "a", "messages": [USER]}, "messages"),
        ({"content": ["a"]}, "content"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"messages": [USER], "add_special_tokens": True}, "add_special_tokens"),
        ({"messages": [USER], "parse_special": False}, "parse_special"),
        ({"content": "a", "add_generation_prompt": False}, "add_generation_prompt"),
        ({"prompt": "a", "tools": []}, "tools"),
        (
            {"prompt": "a", "add_special": True, "add_special_tokens": False},
            "add_special_tokens",
        ),
        ({"messages": [USER], "continue_final_message": True}, "continue_final_message"),
        (
            {"messages": [USER], "chat_template_kwargs": {"messages": []}},
            "chat_template_kwargs.messages",
        ),
        ({"prompt": "a", "text": "b"}, "text"),
        ({"model": ""}, "model"),
    ],
)
async def test_a_field_at_fault_is_named(service, fields, param):
    """What cannot be honoured, or does not go together, is a 400 that names a field."""
    assert (await refused(service, "/tokenize", **fields))["param"] == param


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize"])
async def test_a_model_is_named(service, path):
    """There may be several, so a request names one."""
    body = {"content": "Hi"} if path == "/tokenize" else {"tokens": [72]}
    missing = await service.client.post(path, json=body)
    unknown = await service.client.post(path, json=body | {"model": "x"})
    assert (missing.status_code, missing.json()["error"]["param"]) == (400, "model")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("path", "fields"), [("/tokenize", {"content": "Hi"}), ("/detokenize", {"tokens": [72]})]
)
async def test_a_model_that_embeds(service, path, fields):
    """It writes nothing: a 400 that names the model."""
    service.write("e", embedding_length=4)
    assert (await refused(service, path, **fields, model="e"))["param"] == "model"


# ── a cold model, and clients that leave ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "fields"), [("/tokenize", {"content": "Hi"}), ("/detokenize", {"tokens": [72]})]
)
async def test_a_model_that_is_loading(service, path, fields):
    """The request waits for it, and after the hold is answered as everywhere."""
    service.backend.load_gate.hold()
    response = await post(service, path, fields, prefer="wait=0")
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "model_loading"
    assert int(response.headers["retry-after"]) >= 1

    service.backend.load_gate.release()
    assert (await post(service, path, fields)).status_code == 200
    assert len(service.backend.loads) == 1


@pytest.mark.parametrize(
    ("path", "fields"), [("/tokenize", {"content": "Hi"}), ("/detokenize", {"tokens": [72]})]
)
async def test_hanging_up_while_the_model_loads(service, path, fields):
    """No request holds the model then."""
    service.backend.load_gate.hold()
    call = Call(service.app, {"model": "m"} | fields, path=path)
    assert await asyncio.to_thread(service.backend.load_gate.wait_reached)
    await call.hang_up()
    service.backend.load_gate.release()
    assert (await service.post(chat())).status_code == 200
    (model,) = service.app.state.service.pool._models.values()
    assert model.users == 0


def test_every_field_is_documented():
    """Each but the model is in the table of docs/api.md."""
    assert documented("Tokens", "field") | {"model"} == set(TokenizeRequest.__struct_fields__)
