"""Anthropic's endpoints over the fake backend: what reaches the engine, and what comes back."""

import asyncio
import json
import re
import typing
from pathlib import Path

import msgspec
import pytest
from anthropic.types.message_count_tokens_params import MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsBase
from anthropic.types.tool_param import ToolParam

from pilotlight.schema.messages.request import CountTokensRequest, CustomTool, MessagesRequest
from pilotlight_backend import SamplingParams
from pilotlight_backend.testing.fake import Piece
from tests.api.caller import Call
from tests.conftest import events

MESSAGES = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
HI = [{"role": "user", "content": "hi"}]
TOOL = {
    "name": "add",
    "description": "Add",
    "input_schema": {"type": "object", "additionalProperties": True},
}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>'
SENT_AS_HEADERS = {"user_profile_id", "workspace_id"}
"""Parameters of the official client that are no fields of the body."""


def asked(**fields):
    """Return a request for a message."""
    return {"model": "m", "max_tokens": 1000, "messages": HI, **fields}


async def post(service, body, path=MESSAGES, **headers):
    """Send *body* to one of the two endpoints."""
    return await service.post(body, path=path, **headers)


async def message(service, **fields):
    """Return the whole answer to a request with *fields*."""
    response = await post(service, asked(**fields))
    assert response.status_code == 200, response.text
    return response.json()


async def stream(service, **fields):
    """Return the events of a streamed answer; each one's name is its data's type."""
    response = await post(service, asked(stream=True, **fields))
    assert response.status_code == 200, response.text
    told = events(response.text)
    assert re.findall(r"^event: (.*)$", response.text, re.MULTILINE) == [
        event["type"] for event in told
    ]
    return told


def joined(told):
    """Return events with neighbouring deltas of one block and kind put together, and no ids."""
    short = []
    for event in told:
        match event:
            case {"type": "content_block_start", "index": index, "content_block": block}:
                short.append(("start", index, {k: v for k, v in block.items() if k != "id"}))
            case {"type": "content_block_delta", "index": index, "delta": delta}:
                kind = delta.pop("type")
                ((_, text),) = delta.items()
                if short[-1][:3] == ("delta", index, kind):
                    text = short.pop()[3] + text
                short.append(("delta", index, kind, text))
            case {"type": "content_block_stop", "index": index}:
                short.append(("stop", index))
            case {"type": "message_delta", "delta": delta}:
                short.append(("ending", delta["stop_reason"], delta["stop_sequence"]))
            case _:
                short.append(event["type"])
    return short


def accumulated(told):
    """Return the message that events add up to, as the clients' own libraries do it."""
    answer, parts = told[0]["message"], {}
    for event in told:
        match event:
            case {"type": "content_block_start", "content_block": block}:
                answer["content"].append(block)
            case {"type": "content_block_delta", "index": index, "delta": delta}:
                block = answer["content"][index]
                match delta:
                    case {"text": text}:
                        block["text"] += text
                    case {"thinking": text}:
                        block["thinking"] += text
                    case {"signature": text}:
                        block["signature"] = text
                    case {"partial_json": text}:
                        parts[index] = parts.get(index, "") + text
                        block["input"] = None
            case {"type": "message_delta", "delta": delta, "usage": usage}:
                answer |= delta
                answer["usage"] = usage
    for index, text in parts.items():
        answer["content"][index]["input"] = json.loads(text)
    return answer


def without_ids(answer):
    """Return *answer* without what differs from one to the next."""
    content = [{k: v for k, v in block.items() if k != "id"} for block in answer["content"]]
    return answer | {"id": "", "content": content, "usage": answer["usage"]["output_tokens"]}


# ── answers ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_message(service):
    """A whole answer has Anthropic's fields."""
    answer = await message(service)

    assert re.fullmatch(r"msg_[0-9a-f]{24}", answer.pop("id"))
    assert answer == {
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "Hello."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": len(service.engine.requests[0].prompt),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 7,
            "output_tokens_details": {"thinking_tokens": 0},
        },
    }


async def test_what_a_slot_still_held_is_no_input(service):
    """Anthropic's `input_tokens` are those that were evaluated; the cached ones stand apart."""
    await message(service)
    usage = (await message(service))["usage"]
    start = (await stream(service))[0]["message"]["usage"]

    prompt = len(service.engine.requests[0].prompt)
    assert usage["cache_read_input_tokens"] == prompt - 1
    assert usage["input_tokens"] == 1
    assert start == usage | {"output_tokens": 0}


async def test_a_stream_of_text(service):
    """The events of a text, from the first to the last."""
    told = await stream(service)

    assert told[0]["message"]["content"] == []
    assert told[0]["message"]["stop_reason"] is None
    assert joined(told) == [
        "message_start",
        ("start", 0, {"type": "text", "text": ""}),
        ("delta", 0, "text_delta", "Hello."),
        ("stop", 0),
        ("ending", "end_turn", None),
        "message_stop",
    ]


async def test_a_stream_of_thinking_and_text(service):
    """The thinking is a block of its own, closed by its signature before the text begins."""
    service.write(reply="<think>Let me see.</think>Four.")

    assert joined(await stream(service)) == [
        "message_start",
        ("start", 0, {"type": "thinking", "thinking": "", "signature": ""}),
        ("delta", 0, "thinking_delta", "Let me see."),
        ("delta", 0, "signature_delta", ""),
        ("stop", 0),
        ("start", 1, {"type": "text", "text": ""}),
        ("delta", 1, "text_delta", "Four."),
        ("stop", 1),
        ("ending", "end_turn", None),
        "message_stop",
    ]


async def test_thinking_that_is_not_displayed(service):
    """With `display: omitted` the block is there, and its text is not."""
    service.write(reply="<think>Let me see.</think>Four.")
    for kind in ({"type": "adaptive"}, {"type": "enabled", "budget_tokens": 1024}):
        thinking = kind | {"display": "omitted"}
        answer = await message(service, thinking=thinking)
        told = joined(await stream(service, thinking=thinking))

        assert answer["content"][0] == {"type": "thinking", "thinking": "", "signature": ""}
        assert answer["usage"]["output_tokens_details"]["thinking_tokens"] > 0
        assert told[1:4] == [
            ("start", 0, {"type": "thinking", "thinking": "", "signature": ""}),
            ("delta", 0, "signature_delta", ""),
            ("stop", 0),
        ]


async def test_a_stream_of_tool_calls(service):
    """Each call is a block, and its input the JSON text as the model writes it."""
    service.write(reply=f"I add.\n{CALL}\n{CALL}")

    assert joined(await stream(service, tools=[TOOL])) == [
        "message_start",
        ("start", 0, {"type": "text", "text": ""}),
        ("delta", 0, "text_delta", "I add."),
        ("stop", 0),
        ("start", 1, {"type": "tool_use", "name": "add", "input": {}}),
        ("delta", 1, "input_json_delta", '{"a": 2}'),
        ("stop", 1),
        ("start", 2, {"type": "tool_use", "name": "add", "input": {}}),
        ("delta", 2, "input_json_delta", '{"a": 2}'),
        ("stop", 2),
        ("ending", "tool_use", None),
        "message_stop",
    ]


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ("{}", {}),
        ('{"a": {"b": [1, "ü"]}}', {"a": {"b": [1, "ü"]}}),
        ("[1]", {"INVALID_JSON": "[1]"}),
        ('"a"', {"INVALID_JSON": '"a"'}),
        ("null", {"INVALID_JSON": "null"}),
        ("7", {"INVALID_JSON": "7"}),
    ],
)
async def test_an_input_is_an_object(service, arguments, value):
    """What the model wrote that is no object is put into one, streamed or not.

    It may write anything where no grammar can spell the function's name.
    """
    service.write(
        reply=f'<tool_call>{{"name": "add!", "arguments": {arguments}}}</tool_call>',
    )
    tool = TOOL | {"name": "add!"}
    answer = await message(service, tools=[tool])
    told = await stream(service, tools=[tool])

    (block,) = answer["content"]
    assert block["input"] == accumulated(told)["content"][0]["input"] == value
    assert re.fullmatch(r"call_[0-9a-f]{24}", block["id"])


async def test_an_input_that_is_cut_short(service):
    """The whole answer shows the text as far as it came, and a stream its pieces."""
    service.write(reply='<tool_call>{"name": "add!", "arguments": {"city": "Par')
    tool = TOOL | {"name": "add!"}  # which no grammar can spell, or the call would be whole
    answer = await message(service, tools=[tool])
    told = joined(await stream(service, tools=[tool]))

    assert answer["content"][0]["input"] == {"INVALID_JSON": '{"city": "Par'}
    assert told[2] == ("delta", 0, "input_json_delta", '{"city": "Par')


async def test_a_call_without_arguments(service):
    """Where the model writes none they are an empty object."""
    service.write(reply='<tool_call>{"name": "add"}</tool_call>')
    answer = await message(service, tools=[TOOL])
    assert answer["content"][0]["input"] == {}
    assert answer["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    "reply",
    [
        "Hello.",
        "<think>Let me see.</think>Four.",
        f"<think>Sum.</think>I add.\n{CALL}",
        f"{CALL}{CALL}",
        f"{CALL} and {CALL} done",
        "<think>no end",
        (Piece(b"\xf0\x9f"), Piece(b"\x98\x80"), " smile"),
        (Piece(b"\xff"), "broken"),
        "",
    ],
)
async def test_a_stream_adds_up_to_the_whole_message(start, reply):
    """For the same reply a stream's events are the whole message, to the character."""
    service = await start()
    service.write(reply=reply)
    whole = await message(service, tools=[TOOL])
    told = await stream(service, tools=[TOOL])
    assert without_ids(accumulated(told)) == without_ids(whole)


async def test_a_stop_sequence(service):
    """The sequence that was found is returned, and is not in the text."""
    answer = await message(service, stop_sequences=["zz", "lo"])
    told = joined(await stream(service, stop_sequences=["zz", "lo"]))

    assert answer["content"] == [{"type": "text", "text": "Hel"}]
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", "lo")
    assert told[2] == ("delta", 0, "text_delta", "Hel")
    assert told[-2] == ("ending", "stop_sequence", "lo")


async def test_max_tokens(service):
    """A response that is cut has its own stop reason."""
    answer = await message(service, max_tokens=3)
    assert answer["content"] == [{"type": "text", "text": "Hel"}]
    assert (answer["stop_reason"], answer["usage"]["output_tokens"]) == ("max_tokens", 3)
    assert joined(await stream(service, max_tokens=3))[-2] == ("ending", "max_tokens", None)


async def test_the_end_of_the_context(start):
    """An answer that fills the context before its own limit says which limit that was."""
    service = await start(context_length=64)
    service.write(reply="A long answer. " * 10)
    answer = await message(service)
    assert answer["stop_reason"] == "model_context_window_exceeded"


async def test_an_answer_without_content(service):
    """Nothing at all is no block."""
    service.write(reply="")
    assert (await message(service))["content"] == []
    assert joined(await stream(service)) == [
        "message_start",
        ("ending", "end_turn", None),
        "message_stop",
    ]


# ── what reaches the engine ─────────────────────────────────────────────────────────────────────


async def prompt_of(service, **fields):
    """Return the text that the engine was given for a request with *fields*."""
    await message(service, **fields)
    return service.engine.detokenize(service.engine.requests[-1].prompt)


async def test_a_prompt(service):
    """System, tools, and turns reach the model by its own template."""
    prompt = await prompt_of(
        service,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": "Add 2 and 2."},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I add."},
                    {"type": "tool_use", "id": "t", "name": "add", "input": {"a": 2}},
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t", "content": "4"}],
            },
        ],
        tools=[TOOL],
    )
    assert prompt == (
        "<|im_start|>system\n# Tools\n"
        '{"type": "function", "function": {"name": "add", "description": "Add", "parameters":'
        ' {"type": "object", "additionalProperties": true}}}\n<|im_end|>\n'
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nAdd 2 and 2.<|im_end|>\n"
        '<|im_start|>assistant\nI add.<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n'
        "</tool_call><|im_end|>\n"
        "<|im_start|>tool\n4<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


async def test_no_tokens(service):
    """With `max_tokens` 0 a slot holds the prompt, and the answer is empty."""
    warmed = await message(service, max_tokens=0)
    assert (warmed["content"], warmed["stop_reason"]) == ([], "max_tokens")
    assert warmed["usage"]["output_tokens"] == 0
    usage = (await message(service))["usage"]
    assert usage["cache_read_input_tokens"] > usage["input_tokens"]


async def test_a_prefill(service):
    """The response continues the last assistant message, without reasoning."""
    prompt = await prompt_of(service, messages=[*HI, {"role": "assistant", "content": "Well, "}])
    assert prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\nWell, ")


@pytest.mark.parametrize(
    ("fields", "thinks"),
    [
        ({}, True),
        ({"thinking": {"type": "adaptive"}}, True),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({"output_config": {"effort": "low"}}, True),
        ({"output_config": {"effort": "low"}, "thinking": {"type": "disabled"}}, False),
    ],
)
async def test_thinking_is_switched_in_the_template(service, fields, thinks):
    """The template gets the request's `thinking`."""
    prompt = await prompt_of(service, **fields)
    assert prompt.endswith("assistant\n" if thinks else "<think>\n\n</think>\n\n")


@pytest.mark.parametrize(
    ("choice", "shown"),
    [
        (None, ["add", "sub"]),
        ({"type": "auto"}, ["add", "sub"]),
        ({"type": "any"}, ["add", "sub"]),
        ({"type": "tool", "name": "sub"}, ["sub"]),
        ({"type": "none"}, []),
    ],
)
async def test_the_model_sees_what_it_may_call(service, choice, shown):
    """Other tools are not in the prompt, and where there are none a call is text."""
    service.write(reply=CALL)
    tools = [TOOL, TOOL | {"name": "sub", "type": "custom"}]
    prompt = await prompt_of(service, tools=tools, tool_choice=choice)
    assert re.findall(r'"name": "(\w+)"', prompt) == shown
    answer = await message(service, tools=tools, tool_choice=choice)
    assert answer["content"][0]["type"] == ("tool_use" if shown else "text")


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def form(schema):
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


async def test_an_answer_keeps_its_form(service):
    """What the schema allows is said, what it does not is not, behind a thought that is free."""
    service.write(reply='<think>No JSON.</think>{"a": 2}')
    told = await message(service, **form(SCHEMA))
    assert [list(block.values())[1] for block in told["content"]] == ["No JSON.", '{"a": 2}']
    service.write("n", reply="xyz")
    plain = {"thinking": {"type": "disabled"}} | form({"enum": ["b", "a"]})
    assert (await message(service, model="n", **plain))["content"][0]["text"] == '"a"'


async def test_a_form_that_is_none(service):
    """A schema that cannot be honoured is a 400 with its place."""
    response = await post(service, asked(**form({"type": "nothing"})))
    assert_error(response, 400, "invalid_request_error", "invalid_request_error")
    assert response.json()["error"]["param"] == "output_config.format.schema.type"


async def test_a_budget_ends_the_thought(service):
    """The answer follows behind so many tokens of thinking."""
    service.write(reply="<think>On and on and on.</think>Four.")
    thinking = {"type": "enabled", "budget_tokens": 8}
    whole = await message(service)
    told = await message(service, thinking=thinking)
    assert whole["content"][0]["thinking"] == "On and on and on."
    thought = told["content"][0]["thinking"]
    assert thought
    assert "On and on and on.".startswith(thought)
    assert len(thought) < len("On and on and on.")
    assert told["content"][1]["type"] == "text"


@pytest.mark.parametrize(
    ("choice", "names"),
    [({"type": "any"}, {"add", "sub"}), ({"type": "tool", "name": "sub"}, {"sub"})],
)
async def test_a_call_that_has_to_be(service, choice, names):
    """The answer is a call of a tool that is there, whatever the model would say."""
    service.write(reply="I would rather not.")
    add = TOOL | {"input_schema": SCHEMA | {"additionalProperties": False}}
    tools = [add, add | {"name": "sub"}]
    plain = {"thinking": {"type": "disabled"}, "max_tokens": 200}
    answer = await message(service, tools=tools, tool_choice=choice, **plain)
    told = await stream(service, tools=tools, tool_choice=choice, **plain)
    for block in answer["content"]:
        assert (block["type"], list(block["input"])) == ("tool_use", ["a"])
        assert block["name"] in names
    assert answer["stop_reason"] == "tool_use"
    assert without_ids(accumulated(told)) == without_ids(answer)


async def test_a_call_that_has_to_be_and_a_form(service):
    """The schema binds the call; the form would bind text, of which there is none."""
    service.write(reply=CALL)
    answer = await message(service, tools=[TOOL], tool_choice={"type": "any"}, **form(SCHEMA))
    assert [block["type"] for block in answer["content"]] == ["tool_use"]


@pytest.mark.parametrize(("disabled", "calls"), [(None, 2), (False, 2), (True, 1)])
async def test_parallel_tool_use(service, disabled, calls):
    """Where it is disabled the answer ends with its first call."""
    service.write(reply=CALL + CALL)
    choice = {"type": "auto", "disable_parallel_tool_use": disabled}
    answer = await message(service, tools=[TOOL], tool_choice=choice)
    assert [block["type"] for block in answer["content"]] == ["tool_use"] * calls
    assert answer["stop_reason"] == "tool_use"


async def test_sampling(service):
    """What is given is honoured, 0 included; what is left out is chat's default."""
    await message(service)
    await message(service, temperature=0, top_p=0.5, top_k=0, max_tokens=9)
    default, given = service.engine.requests
    assert default.sampling == SamplingParams(temperature=1.0, top_p=0.95, top_k=64)
    assert given.sampling == SamplingParams(temperature=0.0, top_p=0.5, top_k=0)
    assert (default.max_tokens, given.max_tokens) == (1000, 9)


async def test_fields_without_effect(service):
    """They change nothing of what the engine gets."""
    await message(service)
    await message(
        service,
        metadata={"user_id": "u"},
        service_tier="auto",
        speed="standard",
        cache_control={"type": "ephemeral", "ttl": "1h"},
        container=None,
        diagnostics=None,
        inference_geo=None,
    )
    plain, given = service.engine.requests
    assert plain == given


async def test_headers_of_the_clients_are_accepted(service):
    """Versions and keys are not looked at."""
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "a,b", "x-api-key": "k"}
    assert (await post(service, asked(), **headers)).status_code == 200


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"system": "Be brief."},
        {"tools": [TOOL], "tool_choice": {"type": "auto"}},
        {"thinking": {"type": "disabled"}},
        {"messages": [*HI, {"role": "assistant", "content": "Well, "}]},
    ],
)
async def test_counted_tokens_are_the_prompts(service, fields):
    """The count is what a message with these fields is charged; nothing is generated."""
    body = {key: value for key, value in asked(**fields).items() if key != "max_tokens"}
    counted = await post(service, body, COUNT)
    assert service.engine.requests == []
    usage = (await message(service, **fields))["usage"]
    assert counted.json() == {"input_tokens": usage["input_tokens"]}


async def test_counting_a_prompt_over_the_context(start):
    """That is what counting is for: there is no error, and the count is returned."""
    service = await start(context_length=64)
    service.write(reply="Hello.")
    counted = await post(service, {"model": "m", "messages": HI, "system": "x" * 100}, COUNT)
    assert counted.status_code == 200
    assert counted.json()["input_tokens"] > 100


async def test_counting_knows_no_generation(service):
    """What only a message has is refused, and so is what is wrong in both."""
    extra = await post(service, asked(), COUNT)
    missing = await post(service, {"model": "m"}, COUNT)
    nobody = await post(service, {"model": "x", "messages": HI}, COUNT)
    assert [one.status_code for one in (extra, missing, nobody)] == [400, 400, 404]
    assert extra.json()["error"]["param"] == "max_tokens"
    assert missing.json()["error"]["param"] == "messages"
    assert nobody.json()["error"]["type"] == "not_found_error"


# ── refusals ────────────────────────────────────────────────────────────────────────────────────


def user(*blocks):
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def assistant(*blocks):
    return {"messages": [*HI, {"role": "assistant", "content": list(blocks)}, *HI]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        (user({"type": "image", "source": {}}), "messages[0].content[0].source.type"),
        (
            user({"type": "text", "text": "x"}, {"type": "document", "source": {}}),
            "messages[0].content[1].type",
        ),
        (user({"type": "search_result"}), "messages[0].content[0].type"),
        (user({"type": "tool_use", "id": "a"}), "messages[0].content[0].type"),
        (user({"text": "x"}), "messages[0].content[0].type"),
        (
            user(
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "content": [{"type": "image", "source": {}}],
                }
            ),
            "messages[0].content[0].content[0].source.type",
        ),
        (user({"type": "tool_result"}), "messages[0].content[0].tool_use_id"),
        (assistant({"type": "server_tool_use"}), "messages[1].content[0].type"),
        (
            assistant({"type": "tool_use", "id": "a", "name": "f", "input": "{}"}),
            "messages[1].content[0].input",
        ),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"system": [{"text": "x"}]}, "system[0].type"),
        ({"cache_control": "forever"}, "cache_control"),
        ({"tools": [{"type": "retrieval", "name": "bash"}]}, "tools[0].type"),
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [TOOL | {"name": ""}]}, "tools[0].name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}, "tools": [TOOL]}, "tool_choice.name"),
        ({"tool_choice": {"type": "tool", "name": "sub"}, "tools": [TOOL]}, "tool_choice.name"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "between_tools"}}, "thinking.type"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"output_config": {"effort": "none"}}, "output_config.effort"),
        ({"temperature": -1}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"stream": "yes"}, "stream"),
        ({"container": "c"}, "container"),
        ({"compaction": {"type": "summarize"}}, "compaction"),
        ({"thread": {"type": "fork"}}, "thread.type"),
        ({"inference_geo": "eu"}, "inference_geo"),
        ({"n": 2}, "n"),
        ({"metadata": "x"}, "metadata"),
    ],
)
async def test_a_field_at_fault_is_named(service, fields, param):
    """A value that cannot be honoured is a 400 in Anthropic's shape, with its path."""
    for streamed in (False, True):
        response = await post(service, asked(**({"stream": streamed} | fields)))
        body = response.json()
        assert response.status_code == 400
        assert body == {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": body["error"]["message"],
                "param": param,
                "code": "invalid_request_error",
            },
            "request_id": response.headers["request-id"],
        }
        assert body["error"]["message"].startswith(param)


@pytest.mark.parametrize("name", ["model", "messages", "max_tokens"])
async def test_a_field_that_is_missing(service, name):
    """A required field that is not there is named."""
    body = {key: value for key, value in asked().items() if key != name}
    response = await post(service, body)
    assert response.status_code == 400
    assert response.json()["error"]["message"] == f"{name}: this field is required"


async def test_unknown_fields_can_be_ignored(start):
    """Where the settings say so, at every depth."""
    service = await start(unknown_fields="ignore")
    service.write(reply="Hello.")
    body = asked(beta=1, tools=[TOOL | {"x": 1}]) | user({"type": "text", "text": "x", "y": 2})
    assert (await post(service, body)).status_code == 200


# ── errors of other kinds ───────────────────────────────────────────────────────────────────────


def assert_error(response, status, kind, code):
    """Show that *response* is this error in Anthropic's shape."""
    error = response.json()
    assert (response.status_code, error["type"]) == (status, "error"), response.text
    assert (error["error"]["type"], error["error"]["code"]) == (kind, code)
    assert set(error) == {"type", "error", "request_id"}
    assert error["request_id"] == response.headers["request-id"]
    assert set(error["error"]) == {"type", "message", "param", "code"}


@pytest.mark.parametrize("path", [MESSAGES, COUNT])
async def test_errors_have_anthropics_shape(start, path):
    """Whatever goes wrong on these paths, before the handler or in it."""
    service = await start(max_request_bytes=300)
    invalid = "invalid_request_error"
    body = asked(model="x")
    if path == COUNT:
        del body["max_tokens"]
    assert_error(await post(service, b"{", path), 400, invalid, invalid)
    assert_error(await post(service, b"", path), 400, invalid, invalid)
    wrong = await post(service, b"{}", path, **{"content-type": "text/plain"})
    assert_error(wrong, 415, invalid, "unsupported_media_type")
    large = await post(service, b" " * 400, path)
    assert_error(large, 413, "request_too_large", "request_too_large")
    method = await service.client.get(path)
    assert_error(method, 405, invalid, "method_not_allowed")
    assert set(method.headers["allow"].split(", ")) == {"POST", "OPTIONS"}
    assert_error(await post(service, body, path), 404, "not_found_error", "model_not_found")
    below = await service.client.get(f"{path}/batches")
    assert_error(below, 404, "not_found_error", "not_found")
    beside = await service.client.get("/v1/messagesx")
    assert "type" not in beside.json()


@pytest.mark.parametrize("path", [MESSAGES, COUNT])
async def test_a_model_that_is_loading(service, path):
    """A 503 that says when to come again, in the headers that Anthropic's clients read too."""
    service.backend.load_gate.hold()
    body = asked() if path == MESSAGES else {"model": "m", "messages": HI}
    response = await post(service, body, path, prefer="wait=0")
    assert_error(response, 503, "overloaded_error", "model_loading")
    assert response.headers["x-should-retry"] == "true"
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert int(response.headers["retry-after-ms"]) > 0


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_answer_of_a_cold_model_carries_the_timing(service, streamed):
    """What its start took is in the headers, and of a stream's first token in a comment."""
    response = await post(service, asked(stream=streamed))
    assert "read;dur=" in response.headers["server-timing"]
    comments = re.findall(r"^: server-timing: ", response.text, re.MULTILINE)
    assert len(comments) == streamed
    assert "server-timing" not in (await post(service, asked(stream=streamed))).headers


async def test_a_model_that_never_loads(service):
    """No other try can help, and the headers say so."""
    service.write("bad", load_error="invalid")
    for streamed in (False, True):
        response = await post(service, asked(model="bad", stream=streamed))
        assert_error(response, 503, "api_error", "model_load_failed")
        assert response.headers["x-should-retry"] == "false"
        assert "retry-after" not in response.headers


async def test_a_prompt_over_the_context(start):
    """The error comes before a stream begins."""
    service = await start(context_length=64)
    service.write(reply="Hello.")
    for streamed in (False, True):
        response = await post(service, asked(system="x" * 100, stream=streamed))
        assert_error(response, 400, "invalid_request_error", "context_length_exceeded")
        assert response.json()["error"]["param"] == "messages"


async def test_a_full_queue(start):
    """It is a rate limit to clients."""
    service = await start(parallel=1, max_queue=1)
    service.write(reply="Hello.")
    service.backend.token_gate.hold()
    running = Call(service.app, asked(stream=True), path=MESSAGES)
    await running.next()
    waiting = Call(service.app, asked(stream=True), path=MESSAGES)
    async with asyncio.timeout(10):
        while not service.engine.stats().queued:  # noqa: ASYNC110 - submitting tells no event
            await asyncio.sleep(0.01)
    response = await post(service, asked())
    assert_error(response, 429, "rate_limit_error", "queue_full")
    assert int(response.headers["retry-after"]) >= 1
    await waiting.hang_up()
    await running.hang_up()


async def test_an_engine_that_fails(service):
    """A whole response is a 500; a stream has its text, then the error, and no `message_stop`."""
    service.write(reply="Hello.", fail_after=3)
    response = await post(service, asked())
    assert_error(response, 500, "api_error", "inference_error")

    *told, error = await stream(service)
    assert joined(told) == [
        "message_start",
        ("start", 0, {"type": "text", "text": ""}),
        ("delta", 0, "text_delta", "Hel"),
    ]
    assert error == {
        "type": "error",
        "error": {
            "type": "api_error",
            "message": error["error"]["message"],
            "param": None,
            "code": "inference_error",
        },
        "request_id": error["request_id"],
    }
    assert error["request_id"].startswith("req_")
    assert "fails after 3 tokens" in error["error"]["message"]


# ── clients that leave ──────────────────────────────────────────────────────────────────────────


async def test_a_prompt_that_takes_long(start):
    """While the first token is not there yet the stream says that it lives."""
    service = await start(sse_ping_interval=0.01)
    service.write(reply="Hello.")
    service.backend.token_gate.hold()
    call = Call(service.app, asked(stream=True), path=MESSAGES)
    (first,) = await call.next()
    assert first["type"] == "message_start"
    assert await call.next() == [{"type": "ping"}]
    assert await call.next() == [{"type": "ping"}]
    service.backend.token_gate.release()
    told = []
    while {"type": "message_stop"} not in told:
        told += await call.next()
    assert joined([event for event in told if event["type"] != "ping"])[1:2] == [
        ("delta", 0, "text_delta", "Hello.")
    ]
    await call.hang_up()


@pytest.mark.parametrize("streamed", [False, True])
async def test_hanging_up_frees_the_slot(start, streamed):
    """The one slot is another request's before any further step."""
    service = await start(parallel=1)
    service.write(reply="A long answer.")
    service.backend.token_gate.hold()
    call = Call(service.app, asked(stream=streamed), path=MESSAGES)
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    await call.hang_up()
    steps = service.engine.stats().steps
    following = Call(service.app, asked(stream=True), path=MESSAGES)
    (first,) = await following.next()
    assert first["type"] == "message_start"
    assert service.engine.stats().steps == steps
    await following.hang_up()
    assert service.app.state.service.admission._in_flight == 0


async def test_hanging_up_while_tokens_wait_for_the_model(service):
    """Counting leaves with its client as well."""
    service.backend.load_gate.hold()
    call = Call(service.app, {"model": "m", "messages": HI}, path=COUNT)
    assert await asyncio.to_thread(service.backend.load_gate.wait_reached)
    await call.hang_up()
    assert service.app.state.service.admission._in_flight == 0


# ── the contract ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (MessageCreateParamsBase, MessagesRequest),
        (MessageCountTokensParams, CountTokensRequest),
        (ToolParam, CustomTool),
    ],
)
def test_every_field_of_anthropic_is_known(theirs, ours):
    """The request knows each field that the official client can send, if only to refuse it."""
    sent = {*theirs.__annotations__} - SENT_AS_HEADERS
    assert sent <= set(ours.__struct_fields__)


def documented(heading):
    """Return the request's fields in the first column of the table *heading* in docs/api.md."""
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    section = page[page.index("## Messages") :]
    table = section[section.index(f"| {heading} | |") :].partition("\n\n")[0]
    first = [row.split("|")[1] for row in table.splitlines()[2:]]
    names = {name for cell in first for name in re.findall("`([a-z_]+)`", cell)}
    return names & set(MessagesRequest.__struct_fields__)


def test_every_field_is_documented():
    """Each field is in one of the three tables: honoured, accepted, refused."""
    tables = [documented("honoured"), documented("accepted"), documented("refused")]
    assert set.union(*tables) == set(MessagesRequest.__struct_fields__)
    assert sum(map(len, tables)) == len(set.union(*tables))


def test_refused_fields_are_those_that_can_only_be_null():
    """What the table says is refused can have no value, and nothing else cannot."""
    only_null = {
        field.name
        for field in msgspec.structs.fields(MessagesRequest)
        if typing.get_args(field.type)[:1] == (type(None),)
    }
    assert documented("refused") == only_null
