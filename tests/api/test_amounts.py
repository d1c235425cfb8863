"""How much of each thing a request may have, on every endpoint that has it."""

from functools import partial

import msgspec
import pytest

from pilotlight.config import Settings
from pilotlight.guidance.json_schema import check
from pilotlight.schema.chat.request import ChatCompletionRequest
from pilotlight.schema.completions import CompletionRequest
from pilotlight.schema.declared import schema_of_declared
from pilotlight.schema.messages.request import MessagesRequest
from pilotlight.schema.responses.request import ResponseRequest
from tests.conftest import CHAT, chat

pytestmark = pytest.mark.slow

COMPLETIONS, RESPONSES = "/v1/completions", "/v1/responses"
MESSAGES, COUNT = "/v1/messages", "/v1/messages/count_tokens"
TOKENIZE = "/tokenize"

USER = {"role": "user", "content": "hi"}
RESULTS = {
    "role": "user",
    "content": [{"type": "tool_result", "tool_use_id": "c", "content": "4"}] * 2,
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
"""Two levels below its root, and 54 bytes."""


def of_chat(**fields):
    """Return a chat request for two messages."""
    return chat(**{"messages": [USER] * 2} | fields)


def of_completions(**fields):
    return {"model": "m", "prompt": "hi", **fields}


def of_responses(**fields):
    return {"model": "m", "input": [USER] * 2, **fields}


def of_messages(**fields):
    return {"model": "m", "max_tokens": 5, "messages": [USER] * 2, **fields}


def of_count(**fields):
    return {"model": "m", "messages": [USER] * 2, **fields}


def of_tokenize(**fields):
    return {"model": "m", "messages": [USER] * 2, **fields}


def functions(count):
    """Return so many tools as chat has them."""
    tool = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
    return [tool] * count


def response_tools(count):
    return [{"type": "function", "name": "f", "parameters": SCHEMA}] * count


def added_tools(*counts):
    """Return items with so many tools each."""
    return [{"type": "additional_tools", "tools": response_tools(count)} for count in counts]


def custom_tools(count):
    return [{"name": "f", "input_schema": SCHEMA}] * count


def json_schema(schema):
    """Return chat's form for *schema*."""
    return {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}


def text_schema(schema):
    """Return the form for *schema* that responses have."""
    return {"format": {"type": "json_schema", "name": "s", "schema": schema}}


def output_schema(schema):
    """Return the form for *schema* that Anthropic's requests have."""
    return {"format": {"type": "json_schema", "schema": schema}}


CASES = [
    (CHAT, of_chat(), "max_messages", 2, "messages"),
    (RESPONSES, of_responses(), "max_messages", 2, "input"),
    (MESSAGES, of_messages(), "max_messages", 2, "messages"),
    (MESSAGES, of_messages(messages=[RESULTS]), "max_messages", 3, "messages"),
    (COUNT, of_count(), "max_messages", 2, "messages"),
    (TOKENIZE, of_tokenize(), "max_messages", 2, "messages"),
    (CHAT, of_chat(tools=functions(3)), "max_tools", 3, "tools"),
    (RESPONSES, of_responses(tools=response_tools(3)), "max_tools", 3, "tools"),
    (
        RESPONSES,
        of_responses(tools=response_tools(1), input=[USER, *added_tools(1, 2)]),
        "max_tools",
        4,
        "input[2].tools",
    ),
    (MESSAGES, of_messages(tools=custom_tools(3)), "max_tools", 3, "tools"),
    (COUNT, of_count(tools=custom_tools(3)), "max_tools", 3, "tools"),
    (TOKENIZE, of_tokenize(tools=functions(3)), "max_tools", 3, "tools"),
    (CHAT, of_chat(stop=["x", "y"]), "max_stops", 2, "stop"),
    (COMPLETIONS, of_completions(stop=["x", "y"]), "max_stops", 2, "stop"),
    (MESSAGES, of_messages(stop_sequences=["x", "y"]), "max_stops", 2, "stop_sequences"),
    (CHAT, of_chat(stop="xyz"), "max_stop_length", 3, "stop"),
    (CHAT, of_chat(stop=["x", "xyz"]), "max_stop_length", 3, "stop[1]"),
    (COMPLETIONS, of_completions(stop="xyz"), "max_stop_length", 3, "stop"),
    (MESSAGES, of_messages(stop_sequences=["xyz"]), "max_stop_length", 3, "stop_sequences[0]"),
    (CHAT, of_chat(n=3), "max_n", 3, "n"),
    (COMPLETIONS, of_completions(n=3), "max_n", 3, "n"),
    (COMPLETIONS, of_completions(best_of=3), "max_n", 3, "best_of"),
]
for name, most in (("max_schema_bytes", 54), ("max_schema_depth", 2)):
    CASES += [
        (CHAT, of_chat(tools=functions(1)), name, most, "tools[0].function.parameters"),
        (
            CHAT,
            of_chat(response_format=json_schema(SCHEMA)),
            name,
            most,
            "response_format.json_schema.schema",
        ),
        (CHAT, of_chat(guided_json=SCHEMA), name, most, "guided_json"),
        (RESPONSES, of_responses(tools=response_tools(1)), name, most, "tools[0].parameters"),
        (RESPONSES, of_responses(text=text_schema(SCHEMA)), name, most, "text.format.schema"),
        (MESSAGES, of_messages(tools=custom_tools(1)), name, most, "tools[0].input_schema"),
        (
            MESSAGES,
            of_messages(output_config=output_schema(SCHEMA)),
            name,
            most,
            "output_config.format.schema",
        ),
        (TOKENIZE, of_tokenize(tools=functions(1)), name, most, "tools[0].function.parameters"),
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[2]} {case[4]}")
async def test_more_than_the_setting_is_refused(start, case):
    """A 400 in the shape of the path names the field, and nothing is loaded for it."""
    path, body, setting, count, param = case
    service = await start(**{setting: count - 1})
    service.write(reply="Hello.")

    response = await service.post(body, path=path)

    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param)
    assert (error["type"], error["code"]) == ("invalid_request_error",) * 2
    assert error["message"].startswith(f"{param}: ")
    assert str(count - 1) in error["message"]
    assert service.backend.engines == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]} {case[2]} {case[4]}")
async def test_as_many_as_the_setting_says_are_taken(start, case):
    """The most that is allowed is allowed, whatever else the request meets."""
    path, body, setting, count, param = case
    service = await start(**{setting: count})
    service.write(reply='{"a": ""}')

    response = await service.post(body, path=path)

    assert response.status_code == 200, (param, response.text)


async def test_message_says_what_and_how_many(start):
    """The value and the limit, in words."""
    service = await start(max_messages=1)
    response = await service.post(of_chat())
    assert response.json()["error"]["message"] == ("messages: expected at most 1 messages, got 2")


async def test_stream_is_refused_with_a_status(start):
    """Nothing has begun, so it is a 400 and no event."""
    service = await start(max_n=1)
    response = await service.post(of_chat(n=2, stream=True))
    assert (response.status_code, response.json()["error"]["param"]) == (400, "n")


async def test_ugly_schema_of_a_tool_is_refused_before_it_is_shown(service):
    """As deep as a body's JSON may be; the chat template would walk all of it."""
    deep = {}
    for _ in range(500):
        deep = {"items": deep}
    tool = {"type": "function", "function": {"name": "f", "parameters": deep}}

    response = await service.post(chat(tools=[tool]))

    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "tools[0].function.parameters")
    assert "more than 64 levels" in error["message"]
    assert service.backend.engines == []


def most(kind, field, limit):
    """Return what the schema of *kind* says of *field*: its first *limit*, wherever it stands."""
    hook = partial(schema_of_declared, ref_template="{name}")
    described = msgspec.json.schema(kind, schema_hook=hook)
    described = described["$defs"][kind.__name__]["properties"][field]
    return next(way[limit] for way in described["anyOf"] if limit in way)


@pytest.mark.parametrize(
    ("setting", "stated"),
    [
        ("max_tools", most(MessagesRequest, "tools", "maxItems")),
        ("max_stops", most(ChatCompletionRequest, "stop", "maxItems")),
        ("max_stops", most(MessagesRequest, "stop_sequences", "maxItems")),
        ("max_n", most(ChatCompletionRequest, "n", "maximum")),
        ("max_n", most(CompletionRequest, "best_of", "maximum")),
        ("max_schema_bytes", check.MAX_BYTES),
        ("max_schema_depth", check.MAX_DEPTH),
    ],
)
def test_no_setting_is_beyond_what_is_stated(setting, stated):
    """The document's bounds are true whatever is set, and by default all they allow is taken."""
    (field,) = (one for one in msgspec.structs.fields(Settings) if one.name == setting)
    described = msgspec.json.schema(field.type)
    assert (described["maximum"], field.default) == (stated, stated)


def test_openais_endpoints_state_their_own_bound_of_tools():
    """It is OpenAI's, and the setting's description names it."""
    assert most(ChatCompletionRequest, "tools", "maxItems") == 128
    assert most(ResponseRequest, "tools", "maxItems") == 128
