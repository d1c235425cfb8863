"""What the lenient decoding leaves out."""

import msgspec
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from pilotlight.api.http import lenient
from pilotlight.schema.chat.request import ChatCompletionRequest
from pilotlight.schema.responses.request import ResponseRequest
from tests.api.tables import documented
from tests.conftest import chat


def test_lenient_decoding_drops_unknown_fields_at_every_level():
    """What the types do not know is left out; what they know is decoded as ever."""
    plain = {
        "model": "m",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
        ],
        "stream_options": {"include_usage": True},
        "chat_template_kwargs": {"free": {"form": 1}},
    }
    given = msgspec.json.decode(msgspec.json.encode(plain))
    first, second = given["messages"]
    for place in (
        given,
        first,
        first["content"][0],
        second,
        second["tool_calls"][0],
        second["tool_calls"][0]["function"],
        given["stream_options"],
    ):
        place["unheard_of"] = {"deep": [1]}
    decoded = lenient.decode(given, ChatCompletionRequest, ignore_unknown=True)
    assert decoded == msgspec.convert(plain, ChatCompletionRequest)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"messages": [{"content": "hi"}]}, "$.messages[0]"),
        ({"messages": [{"role": "robot"}]}, "$.messages[0].role"),
        ({"messages": [7]}, "$.messages[0]"),
        ({"temperature": 3}, "$.temperature"),
        ({"stop": [""]}, "$.stop[0]"),
    ],
)
def test_lenient_decoding_forgives_nothing_else(fields, place):
    """A known field's bad value is the same error, at the same place."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields
    with pytest.raises(msgspec.ValidationError) as refused:
        lenient.decode(body, ChatCompletionRequest, ignore_unknown=True)
    assert str(refused.value).endswith(f"`{place}`")


@pytest.mark.parametrize("ignore_unknown", [False, True])
def test_lenient_decoding_knows_an_object_without_a_tag(ignore_unknown):
    """Among types that are distinguished by a tag, one may omit it; the others may not."""
    item = {"role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    body = {"model": "m", "input": [item, item | {"type": "message"}]}
    decoded = lenient.decode(body, ResponseRequest, ignore_unknown=ignore_unknown)
    assert decoded.input[0] == decoded.input[1]

    del item["content"][0]["type"]
    body = {"model": "m", "input": [item]}
    with pytest.raises(msgspec.ValidationError, match=r"`type` - at `.*content"):
        lenient.decode(body, ResponseRequest, ignore_unknown=ignore_unknown)


def test_lenient_decoding_looks_at_the_type_first():
    """The error of a wrong kind of tool names its type, and not a field of another kind."""
    tools = [{"vector_store_ids": [], "type": "retrieval"}]
    body = {"model": "m", "input": "hi", "tools": tools}
    with pytest.raises(msgspec.ValidationError, match=r"at `\$.type` - at `\$.tools\[0\]`"):
        lenient.decode(body, ResponseRequest, ignore_unknown=False)


def test_lenient_decoding_leaves_what_is_free_as_it_is():
    """A schema's own `type`, and the order of its keys, stay as they were written."""
    schema = {"properties": {"type": {"const": "x"}}, "type": "object"}
    tools = [{"name": "f", "parameters": schema, "type": "function"}]
    body = {"model": "m", "input": [{"role": "user", "content": ""}], "tools": tools}
    decoded = lenient.decode(body, ResponseRequest, ignore_unknown=True)
    assert list(decoded.tools[0].parameters) == ["properties", "type"]
    assert decoded.tools[0].parameters == schema


def test_every_field_of_openai_is_known():
    """The request knows each field that the official client can send, if only to refuse it."""
    known = set(ChatCompletionRequest.__struct_fields__)
    assert {*CompletionCreateParamsBase.__annotations__, "stream"} <= known


def test_every_field_is_documented():
    """Each field is in one of the three tables: honoured, accepted, refused."""
    tables = [
        documented("Chat completions", "honoured"),
        documented("Chat completions", "accepted"),
        documented("Chat completions", "refused"),
    ]
    assert set.union(*tables) == set(ChatCompletionRequest.__struct_fields__)
    assert sum(map(len, tables)) == len(set.union(*tables))


def test_refused_fields_are_those_that_can_only_be_null():
    """What the table says is refused can have no value, and nothing else cannot."""
    fields = msgspec.structs.fields(ChatCompletionRequest)
    only_null = {
        field.name
        for field in fields
        if isinstance(msgspec.inspect.type_info(field.type), msgspec.inspect.Metadata)
        and isinstance(msgspec.inspect.type_info(field.type).type, msgspec.inspect.NoneType)
    }
    assert only_null == documented("Chat completions", "refused")


@pytest.mark.parametrize("name", ["messages", "tools", "documents", "bos_token", "eos_token"])
async def test_reserved_template_variables(service, name):
    """A template variable that the service sets is refused by its name."""
    response = await service.post(chat(chat_template_kwargs={name: "x"}))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == f"chat_template_kwargs.{name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("function_call", "auto"),
        ("functions", [{"name": "f"}]),
        ("moderation", {"model": "omni"}),
    ],
)
async def test_official_fields_that_are_refused(service, name, value):
    """A field of OpenAI's that this server cannot honour is a 400 that names it."""
    response = await service.post(chat(**{name: value}))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == name
