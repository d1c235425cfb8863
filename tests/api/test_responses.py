"""Responses over the fake backend: what reaches the engine, and what comes back."""

import asyncio
import re
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from openai.types.responses.tool_param import ToolParam

from pilotlight.api.endpoints.responses.projection import ResponseProjection
from pilotlight.errors import InferenceError
from pilotlight.schema.responses.request import Includable, ResponseRequest
from pilotlight.schema.support import MAX_TOKENS_HINT, REFUSED_TYPES, fate_of
from pilotlight.schema.support import RESPONSES as SUPPORT
from pilotlight_backend import SamplingParams
from tests.api.caller import Call
from tests.api.tables import documented
from tests.conftest import RESPONSES, FakeService, events

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 2}}\n</tool_call>'
OTHER_CALL = '<tool_call>\n{"name": "mul", "arguments": {"b": 3}}\n</tool_call>'
THINKING = ("<think>", "Sum", " it.", "</think>", "Fo", "ur.")


ANY = {"type": "object", "additionalProperties": True}


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": ANY}


TOOLS = [tool("add"), tool("mul")]

NOT_UNLIMITED = f"; {MAX_TOKENS_HINT['hint']}"
NOT_STORED = "expected false; no response is stored, so a client has to wait for it"
NO_RESPONSE = "no response is stored; send the whole conversation as input"


def reason(name: str) -> str:
    """Return why the field *name* is refused."""
    return (SUPPORT[name].extra or {})["refused"]


def asked(given: Any = "hi", **fields: Any) -> dict[str, Any]:
    """Return a request for a response."""
    return {"model": "m", "input": given, **fields}


async def respond(service: FakeService, given: Any = "hi", **fields: Any) -> dict[str, Any]:
    """Return the response to a request."""
    response = await service.post(asked(given, **fields), path=RESPONSES)
    assert response.status_code == 200, response.text
    return response.json()


async def stream(service: FakeService, given: Any = "hi", **fields: Any) -> list[dict[str, Any]]:
    """Return the events of a streamed response, without their numbers.

    Each is called by its type, they are numbered from 0, and nothing else is there.
    """
    response = await service.post(asked(given, stream=True, **fields), path=RESPONSES)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    *messages, end = response.text.split("\n\n")
    assert end == ""
    told = []
    for number, message in enumerate(one for one in messages if not one.startswith(":")):
        name, data = message.split("\n")
        event = msgspec.json.decode(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event.pop("sequence_number") == number
        told.append(event)
    return told


async def prompt_of(service: FakeService, given: Any = "hi", **fields: Any) -> str:
    """Return the prompt that the engine gets of a request."""
    await respond(service, given, **fields)
    return service.engine.detokenize(service.engine.requests[-1].prompt)


def plain(value: Any) -> Any:
    """Return *value* with ids and times as their kind alone."""
    match value:
        case dict():
            return {name: plain(item) for name, item in value.items()}
        case list():
            return [plain(item) for item in value]
        case str():
            return re.sub(r"^(resp|rs|msg|fc|call)_[0-9a-f]{24}$", r"\1_", value)
        case int() if value > 1_700_000_000:
            return "now"
    return value


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def message(text: str, status: str = "completed") -> dict[str, Any]:
    item = {"type": "message", "id": "msg_", "status": status, "role": "assistant"}
    return item | {"content": [text_part(text)]}


def reasoning(text: str, status: str = "completed") -> dict[str, Any]:
    content = [{"type": "reasoning_text", "text": text}]
    return {"type": "reasoning", "id": "rs_", "status": status, "summary": [], "content": content}


def call(name: str, arguments: str, status: str = "completed") -> dict[str, Any]:
    item = {"type": "function_call", "id": "fc_", "status": status, "call_id": "call_"}
    return item | {"name": name, "arguments": arguments}


BEGUN = ["response.created", "response.in_progress"]


def types(events: list[dict[str, Any]]) -> list[str]:
    """Return the events' types, those that follow each other once."""
    names = [event["type"] for event in events]
    return [name for at, name in enumerate(names) if not at or name != names[at - 1]]


# ── the whole answer ────────────────────────────────────────────────────────────────────────────


async def test_a_response(service):
    """A whole answer has OpenAI's fields: the items, the usage, and what was asked."""
    response = await respond(service)

    tokens = len(service.engine.requests[0].prompt)
    assert plain(response) == {
        "id": "resp_",
        "object": "response",
        "created_at": "now",
        "completed_at": "now",
        "status": "completed",
        "model": "m",
        "output": [message("Hello.")],
        "error": None,
        "incomplete_details": None,
        "usage": {
            "input_tokens": tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 7,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens + 7,
        },
        "background": False,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 0.95,
        "truncation": "disabled",
        "user": None,
    }


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"metadata": {"order": "7"}}, {}),
        ({"instructions": "Be brief."}, {}),
        ({"temperature": 0.0, "top_p": 0.0}, {}),
        ({"max_output_tokens": 5}, {}),
        ({"parallel_tool_calls": False}, {}),
        ({"store": True}, {"store": False}),
        ({"service_tier": "flex"}, {"service_tier": "default"}),
        ({"user": "u", "safety_identifier": "s", "prompt_cache_key": "k"}, {}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {}),
        (
            {"reasoning": {"mode": "standard", "context": "auto"}},
            {"reasoning": {"effort": None, "summary": None}},
        ),
        (
            {"text": {"verbosity": "low"}},
            {"text": {"format": {"type": "text"}, "verbosity": "low"}},
        ),
        (
            {"tools": [tool("add") | {"strict": True, "defer_loading": False}]},
            {"tools": [tool("add") | {"strict": True, "description": None}]},
        ),
        ({"tools": [], "tool_choice": "none"}, {}),
        ({"top_logprobs": 2, "max_tool_calls": 3}, {}),
    ],
)
async def test_what_was_asked_stands_in_the_response(service, fields, told):
    """A field is echoed as it was given, but where the server does otherwise."""
    response = await respond(service, **fields)
    assert {name: response[name] for name in fields} == fields | told


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "name": "add"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "mul"}]},
    ],
)
async def test_a_choice_of_tools_stands_in_the_response(service, choice):
    """A choice is echoed as an object, and all tools are, chosen or not."""
    service.write(reply=CALL)
    response = await respond(service, tools=TOOLS, tool_choice=choice)
    assert response["tool_choice"] == choice
    assert [one["name"] for one in response["tools"]] == ["add", "mul"]


async def test_the_items_are_in_the_order_in_which_they_are_written(service):
    """A thought, a message and calls are items of their own."""
    service.write(reply=f"<think>Sum.</think>I add.\n{CALL}{OTHER_CALL}")

    response = await respond(service, tools=TOOLS)

    assert plain(response["output"]) == [
        reasoning("Sum."),
        message("I add."),
        call("add", '{"a": 2}'),
        call("mul", '{"b": 3}'),
    ]
    ids = [item["id"] for item in response["output"]]
    assert len(set(ids)) == 4
    assert response["usage"]["output_tokens_details"]["reasoning_tokens"] > 0


async def test_text_after_a_call_is_another_message(service):
    """What the model says behind a call stands behind it."""
    service.write(reply=f"I add.\n{CALL}Done.")
    response = await respond(service, tools=TOOLS)
    assert plain(response["output"]) == [
        message("I add."),
        call("add", '{"a": 2}'),
        message("Done."),
    ]


@pytest.mark.parametrize(
    ("reply", "output"),
    [
        ("", [message("")]),
        ("<think>Hm.</think>", [reasoning("Hm."), message("")]),
        (CALL, [call("add", '{"a": 2}')]),
    ],
)
async def test_an_answer_that_says_nothing(service, reply, output):
    """An answer without text is an empty message, but where it calls a function."""
    service.write(reply=reply)
    assert plain((await respond(service, tools=TOOLS))["output"]) == output
    assert plain((await stream(service, tools=TOOLS))[-1]["response"]["output"]) == output


@pytest.mark.parametrize(
    ("reply", "tokens", "output"),
    [
        (("He", "llo", "."), 2, [message("Hello", "incomplete")]),
        (THINKING, 3, [reasoning("Sum it.", "incomplete")]),
        (THINKING, 5, [reasoning("Sum it."), message("Fo", "incomplete")]),
        (
            ('<tool_call>\n{"name": "add", "arguments": ', '{"a":', " 2}}"),
            2,
            [call("add", '{"a":', "incomplete")],
        ),
    ],
)
async def test_an_answer_that_is_cut(service, reply, tokens, output):
    """At `max_output_tokens` the response and its last item are incomplete, and say why."""
    service.write(reply=reply)

    response = await respond(service, tools=TOOLS, max_output_tokens=tokens)
    *_, last = await stream(service, tools=TOOLS, max_output_tokens=tokens)

    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["completed_at"] is None
    assert response["usage"]["output_tokens"] == tokens
    assert plain(response["output"]) == output
    assert last["type"] == "response.incomplete"
    assert plain(last["response"]["output"]) == output
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_log_probabilities(service):
    """`include` asks for them, `top_logprobs` for those of other tokens."""
    include = ["message.output_text.logprobs"]

    response = await respond(service, include=include, top_logprobs=1)
    alone = await respond(service, include=include)
    without = await respond(service, top_logprobs=1)

    told = response["output"][0]["content"][0]["logprobs"]
    assert "".join(token["token"] for token in told) == "Hello."
    assert told[0] == {
        "token": "H",
        "bytes": [72],
        "logprob": -0.5,
        "top_logprobs": [{"token": "H", "bytes": [72], "logprob": -0.5}],
    }
    told = alone["output"][0]["content"][0]["logprobs"]
    assert [token["top_logprobs"] for token in told] == [[]] * 6
    assert without["output"][0]["content"][0]["logprobs"] == []


async def test_log_probabilities_in_a_stream(service):
    """Each piece has its tokens', the whole text has all of them."""
    told = await stream(service, include=["message.output_text.logprobs"], top_logprobs=1)

    deltas = [event for event in told if event["type"] == "response.output_text.delta"]
    assert deltas[0]["logprobs"] == [
        {"token": "H", "logprob": -0.5, "top_logprobs": [{"token": "H", "logprob": -0.5}]}
    ]
    (done,) = (event for event in told if event["type"] == "response.output_text.done")
    assert done["logprobs"] == [one for delta in deltas for one in delta["logprobs"]]
    part = told[-1]["response"]["output"][0]["content"][0]
    assert [one["token"] for one in part["logprobs"]] == [*"Hello."]


# ── the stream ──────────────────────────────────────────────────────────────────────────────────


async def test_a_stream_of_text(service):
    """The message opens, its text comes in pieces, and everything is closed again."""
    service.write(reply=("Hel", "lo."))

    created, in_progress, *told, completed = await stream(service)

    place = {"item_id": "msg_", "output_index": 0, "content_index": 0}
    opened = message("", "in_progress") | {"content": []}
    assert plain(told) == [
        {"type": "response.output_item.added", "output_index": 0, "item": opened},
        {"type": "response.content_part.added", **place, "part": text_part("")},
        {"type": "response.output_text.delta", **place, "delta": "Hel", "logprobs": []},
        {"type": "response.output_text.delta", **place, "delta": "lo.", "logprobs": []},
        {"type": "response.output_text.done", **place, "text": "Hello.", "logprobs": []},
        {"type": "response.content_part.done", **place, "part": text_part("Hello.")},
        {"type": "response.output_item.done", "output_index": 0, "item": message("Hello.")},
    ]
    assert [event["type"] for event in (created, in_progress)] == BEGUN
    assert created["response"] == in_progress["response"]
    assert created["response"]["status"] == "in_progress"
    assert created["response"]["output"] == []
    assert created["response"]["usage"] is None
    assert completed["type"] == "response.completed"
    assert plain(completed["response"]["output"]) == [message("Hello.")]
    ids = {event["item_id"] for event in told if "item_id" in event}
    assert ids == {completed["response"]["output"][0]["id"]}
    assert created["response"]["id"] == completed["response"]["id"]


async def test_a_stream_of_a_thought(service):
    """The thought is an item that is whole before the message opens."""
    service.write(reply=THINKING)

    _, _, *told, _ = await stream(service)

    place = {"item_id": "rs_", "output_index": 0, "content_index": 0}
    part = {"type": "reasoning_text", "text": "Sum it."}
    opened = reasoning("", "in_progress") | {"content": []}
    message_at = [event["output_index"] for event in told].index(1)
    assert plain(told[:message_at]) == [
        {"type": "response.output_item.added", "output_index": 0, "item": opened},
        {"type": "response.content_part.added", **place, "part": part | {"text": ""}},
        {"type": "response.reasoning_text.delta", **place, "delta": "Sum"},
        {"type": "response.reasoning_text.delta", **place, "delta": " it."},
        {"type": "response.reasoning_text.done", **place, "text": "Sum it."},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": reasoning("Sum it.")},
    ]
    assert types(told[message_at:]) == [
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    assert {event["output_index"] for event in told[message_at:]} == {1}


async def test_a_stream_of_a_call(service):
    """The call opens with its name and without arguments, which come in pieces."""
    service.write(reply=('<tool_call>\n{"name": "add", ', '"arguments": {"a"', ": 2}", "}"))

    _, _, *told, completed = await stream(service, tools=TOOLS)

    place = {"item_id": "fc_", "output_index": 0}
    assert plain(told) == [
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": call("add", "", "in_progress"),
        },
        {"type": "response.function_call_arguments.delta", **place, "delta": '{"a"'},
        {"type": "response.function_call_arguments.delta", **place, "delta": ": 2}"},
        {"type": "response.function_call_arguments.done", **place, "arguments": '{"a": 2}'},
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": call("add", '{"a": 2}'),
        },
    ]
    (item,) = completed["response"]["output"]
    assert item == told[-1]["item"]
    assert item["call_id"] == told[0]["item"]["call_id"]


async def test_a_stream_of_several_calls(service):
    """Each call is closed before the next one opens."""
    service.write(reply=f"I add.\n{CALL}\n{OTHER_CALL}")

    told = await stream(service, tools=TOOLS)

    one_call = [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
    assert types(told) == [
        *BEGUN,
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        *one_call,
        *one_call,
        "response.completed",
    ]
    done = [event["item"] for event in told if event["type"] == "response.output_item.done"]
    assert done == told[-1]["response"]["output"]


@pytest.mark.parametrize("reply", [THINKING, CALL + OTHER_CALL, f"a{CALL}b{CALL}c", "", "\n"])
async def test_a_stream_adds_up_to_the_whole_response(service, reply):
    """The last event has the response that comes without a stream, and the pieces add up to it."""
    service.write(reply=reply)

    whole = await respond(service, tools=TOOLS)
    told = await stream(service, tools=TOOLS)

    last = plain(told[-1]["response"])
    whole["usage"]["input_tokens_details"] = last["usage"]["input_tokens_details"]
    assert last == plain(whole)
    pieces = [""] * len(whole["output"])
    for event in told:
        if event["type"].endswith(".delta"):
            pieces[event["output_index"]] += event["delta"]
    assert pieces == [
        item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"]
        for item in whole["output"]
    ]


async def test_a_fault_in_the_middle_of_a_stream(service):
    """The response fails with what there is of it, and an error that SDKs raise is the last."""
    service.write(reply="Hello.", fail_after=3)

    *told, failed, error = await stream(service)

    assert types(told) == [
        *BEGUN,
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
    ]
    assert failed["type"] == "response.failed"
    assert failed["response"]["status"] == "failed"
    assert plain(failed["response"]["output"]) == [message("Hel", "incomplete")]
    fault = failed["response"]["error"]
    assert fault == {
        "code": "server_error",
        "message": fault["message"],
        "param": None,
        "type": "inference_error",
    }
    body = {"message": fault["message"], "type": "inference_error", "param": None}
    body |= {"code": "inference_error"}
    told_flat = {"type": "error", "message": fault["message"], "code": "inference_error"}
    assert error == told_flat | {"param": None, "error": body}


async def test_a_fault_before_anything_is_written(service):
    """A response can fail without an item."""
    service.write(fail_after=0)
    told = await stream(service)
    assert types(told) == [*BEGUN, "response.failed", "error"]
    assert told[-2]["response"]["output"] == []


def test_a_fault_before_the_response_begins():
    """While it waits for its slot; the SDKs' `responses.stream` accepts no other first event."""
    projection = ResponseProjection(msgspec.convert(asked(), ResponseRequest))

    told = events(projection.fail(InferenceError("the engine failed")).decode())

    assert [one["type"] for one in told] == [*BEGUN, "response.failed", "error"]
    assert [one["sequence_number"] for one in told] == [0, 1, 2, 3]
    assert [one["response"]["status"] for one in told[:3]] == ["in_progress"] * 2 + ["failed"]


async def test_a_fault_of_a_response_that_is_no_stream(service):
    """It is a 500, with the error's own body."""
    service.write(reply="Hello.", fail_after=3)
    response = await service.post(asked(), path=RESPONSES)
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "inference_error"


async def test_hanging_up_frees_the_slot(start):
    """A stream that is left takes no other step, and the next one gets the slot."""
    service = await start(parallel=1)
    service.write(reply="A long answer.")
    service.backend.token_gate.hold()
    call = Call(service.app, asked(stream=True), path=RESPONSES)
    assert [event["type"] for event in await call.next()] == BEGUN
    service.backend.token_gate.release(2)
    await call.next()
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    await call.hang_up()

    following = Call(service.app, asked(stream=True), path=RESPONSES)
    assert [event["type"] for event in await following.next()] == BEGUN
    await following.hang_up()
    assert service.engine.stats().completion_tokens == 2


async def test_hanging_up_during_a_response_that_is_no_stream(start):
    """It is cancelled too, before anything was sent."""
    service = await start(parallel=1)
    service.write(reply="A long answer.")
    service.backend.token_gate.hold()
    call = Call(service.app, asked(), path=RESPONSES)
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    await call.hang_up()

    following = Call(service.app, asked(stream=True), path=RESPONSES)
    assert [event["type"] for event in await following.next()] == BEGUN
    await following.hang_up()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_model_that_is_loading(service, streamed):
    """A load that outlasts the wait is a 503 before a stream begins, and then it is answered."""
    service.backend.load_gate.hold()
    response = await service.post(asked(stream=streamed), path=RESPONSES, prefer="wait=0")
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "model_loading"
    assert "retry-after" in response.headers
    service.backend.load_gate.release()
    response = await service.post(asked(stream=streamed), path=RESPONSES)
    assert response.status_code == 200


async def test_a_cold_start_is_told(service):
    """The first response has its timing in a header, a stream's second part in a comment."""
    response = await service.post(asked(), path=RESPONSES)
    assert "first_token;dur=" in response.headers["server-timing"]
    service.write("other", reply="Hi.")
    response = await service.post(asked(stream=True) | {"model": "other"}, path=RESPONSES)
    assert "server-timing" in response.headers
    assert len(re.findall(r"^: server-timing: ", response.text, re.MULTILINE)) == 1


# ── what reaches the engine ─────────────────────────────────────────────────────────────────────


async def test_an_answer_without_a_limit_has_the_server_s(start):
    """The setting is for requests that state none."""
    service = await start(default_max_tokens=10_000)
    service.write(reply="Hello.", context_length=20_000)
    await respond(service)
    await respond(service, max_output_tokens=7)

    assert [request.max_tokens for request in service.engine.requests] == [10_000, 7]


async def test_defaults(service):
    """What is left out is as it is for chat."""
    await respond(service)
    (request,) = service.engine.requests
    assert request.sampling == SamplingParams(temperature=1.0, top_p=0.95, top_k=64)
    assert request.max_tokens == 2048
    assert request.logprobs is None
    assert request.guide is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.0),
        ("temperature", 2.0),
        ("top_p", 0.0),
        ("top_p", 0.5),
        ("top_k", 0),
        ("top_k", 1),
        ("min_p", 0.25),
    ],
)
async def test_a_sampling_value_is_honoured(service, name, value):
    """A value that is given arrives as it is, zero too."""
    await respond(service, **{name: value})
    (request,) = service.engine.requests
    assert getattr(request.sampling, name) == value


async def test_a_conversation_becomes_the_prompt(service):
    """Items are rendered by the chat template; the short form of a message has no type."""
    prompt = await prompt_of(
        service,
        [
            {"role": "developer", "content": "Use tools."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Add"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'},
            {"type": "function_call_output", "call_id": "c1", "output": "2"},
        ],
        instructions="Be brief.",
    )
    assert prompt == (
        "<|im_start|>system\nBe brief.\n\nUse tools.<|im_end|>\n"
        "<|im_start|>user\nAdd<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n'
        "</tool_call><|im_end|>\n"
        "<|im_start|>tool\n2<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


async def test_the_output_of_one_response_is_input_of_the_next(service):
    """A client adds the items as they are, whatever they are."""
    service.write(reply=f"<think>Sum.</think>I add.\n{CALL}")
    first = await respond(service, tools=TOOLS)
    service.write("n", reply="Done.")

    items = [{"role": "user", "content": "Add."}, *first["output"]]
    items.append({"type": "function_call_output", "call_id": items[-1]["call_id"], "output": "4"})
    response = await service.post(asked(items, tools=TOOLS) | {"model": "n"}, path=RESPONSES)

    assert response.status_code == 200, response.text
    assert plain(response.json()["output"]) == [message("Done.")]


async def test_a_last_message_of_the_models_is_gone_on_from(service):
    """The answer begins with it, and thinking is over."""
    prompt = await prompt_of(
        service,
        [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One"}],
    )
    assert prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\nOne")


@pytest.mark.parametrize(
    ("fields", "thinks"),
    [
        ({}, True),
        ({"reasoning": {"effort": "none"}}, False),
        ({"reasoning": {"effort": "max"}}, True),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
    ],
)
async def test_an_effort_reaches_the_template(service, fields, thinks):
    """Effort `none` turns the thinking off, as the template's own switch does."""
    prompt = await prompt_of(service, **fields)
    assert prompt.endswith("</think>\n\n") != thinks


@pytest.mark.parametrize(
    ("effort", "guided"), [("minimal", True), ("high", True), ("xhigh", False), ("max", False)]
)
async def test_an_effort_is_a_budget(service, effort, guided):
    """The efforts that end a thought come with what ends it."""
    await respond(service, reasoning={"effort": effort})
    assert (service.engine.requests[-1].guide is not None) == guided


@pytest.mark.parametrize(
    ("choice", "shown"),
    [
        (None, {"add", "mul"}),
        ("auto", {"add", "mul"}),
        ("none", set()),
        ({"type": "function", "name": "mul"}, {"mul"}),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "add"}],
            },
            {"add"},
        ),
    ],
)
async def test_tools_that_are_shown(service, choice, shown):
    """Tools that may not be called are not in the prompt; the others are written as in chat."""
    prompt = await prompt_of(service, tools=TOOLS, tool_choice=choice)
    assert {name for name in ("add", "mul") if f'"name": "{name}"' in prompt} == shown
    assert prompt.count('{"type": "function", "function": {"name": ') == len(shown)


async def test_one_call_where_there_may_be_one(service):
    """Without parallel calls the answer ends with its first."""
    service.write(reply=CALL + OTHER_CALL)
    response = await respond(service, tools=TOOLS, parallel_tool_calls=False)
    assert plain(response["output"]) == [call("add", '{"a": 2}')]


async def test_calls_are_text_where_no_tool_is_offered(service):
    """Without tools what looks like a call is text."""
    service.write(reply=CALL)
    assert plain((await respond(service))["output"]) == [message(CALL)]


def looks(name: str, argument: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {argument: {"type": "boolean"}},
        "required": [argument],
        "additionalProperties": False,
    }
    return {"type": "function", "name": name, "parameters": schema}


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("required", {"look": "at", "hear": "it"}),
        ({"type": "function", "name": "hear"}, {"hear": "it"}),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "look"}],
            },
            {"look": "at"},
        ),
    ],
)
async def test_a_call_has_to_be_made(service, choice, called):
    """A model that would rather talk calls all the same, with arguments that are valid."""
    service.write(reply="I would rather not.")
    response = await respond(
        service,
        tools=[looks("look", "at"), looks("hear", "it")],
        tool_choice=choice,
        parallel_tool_calls=False,
        reasoning={"effort": "none"},
        max_output_tokens=200,
    )
    (item,) = response["output"]
    assert item["type"] == "function_call"
    arguments = msgspec.json.decode(item["arguments"])
    assert isinstance(arguments.pop(called[item["name"]]), bool)
    assert arguments == {}


@pytest.mark.parametrize("reply", [CALL, '{"a": 7}'])
async def test_a_form_leaves_calls_alone(service, reply):
    """With functions to call at will, the answer is a call or has its form."""
    service.write(reply=reply)
    response = await respond(service, tools=TOOLS, text={"format": FORMAT})
    expected = call("add", '{"a": 2}') if reply == CALL else message(reply)
    assert plain(response["output"]) == [expected]


CONST = {"type": "object", "properties": {"a": {"const": 7}}, "required": ["a"]}
FORMAT = {"type": "json_schema", "name": "c", "schema": CONST}


@pytest.mark.parametrize(
    ("answer_format", "said"),
    [
        ({"type": "text"}, "xyz"),
        ({"type": "json_object"}, None),
        ({"type": "json_schema", "name": "c", "schema": {"const": 7}}, "7"),
        ({"type": "json_schema", "name": "c", "schema": CONST, "strict": True}, None),
    ],
)
async def test_the_form_of_an_answer(service, answer_format, said):
    """`text.format` restricts the text, and the response repeats it."""
    service.write(reply="xyz")
    response = await respond(
        service, text={"format": answer_format}, reasoning={"effort": "none"}, max_output_tokens=64
    )
    assert (service.engine.requests[-1].guide is not None) == (answer_format["type"] != "text")
    text = response["output"][0]["content"][0]["text"]
    assert text[0] == (said or "{")[0]
    assert text == (said or text)
    told = response["text"]["format"]
    assert {name: told[name] for name in answer_format} == answer_format


# ── what is refused ─────────────────────────────────────────────────────────────────────────────

USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("fields", "said", "param"),
    [
        ({"inptu": "x"}, "there is no such field; did you mean input?", "inptu"),
        ({"input": []}, "expected an array of at least 1 item", "input"),
        ({"input": None}, "expected a string or an array, got null", "input"),
        ({"input": [7]}, "expected an object, got an integer", "input[0]"),
        (
            {"input": [USER, {"type": "item_reference", "id": "msg_1"}]},
            f"invalid value 'item_reference'; {REFUSED_TYPES['item_reference']}",
            "input[1].type",
        ),
        ({"input": [USER | {"type": "file_search_call"}]}, None, "input[0].type"),
        ({"input": [{"content": "hi"}]}, "this field is required", "input[0].role"),
        ({"input": [{"role": "user"}]}, "this field is required", "input[0].content"),
        ({"input": [USER, {"role": "tool", "content": ""}]}, None, "input[1].role"),
        ({"input": [USER | {"colour": "red"}]}, "there is no such field", "input[0].colour"),
        (
            {
                "input": [
                    USER,
                    USER,
                    {"role": "user", "content": [{"type": "input_audio"}]},
                ]
            },
            "invalid value 'input_audio'; input is text and images; send its text, or omit it",
            "input[2].content[0].type",
        ),
        (
            {"input": [{"role": "user", "content": [{"detail": "x", "type": "input_file"}]}]},
            "invalid value 'input_file'; input is text and images; send its text, or omit it",
            "input[0].content[0].type",
        ),
        (
            {"input": [{"type": "function_call_output", "output": "x"}]},
            "this field is required",
            "input[0].call_id",
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": [{"text": ""}]}]},
            "this field is required",
            "input[0].output[0].type",
        ),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f"}]},
            "this field is required",
            "input[0].arguments",
        ),
        ({"input": [{"type": "reasoning", "summary": "x"}]}, None, "input[0].summary"),
        (
            {"max_output_tokens": 0},
            f"expected an integer of at least 1{NOT_UNLIMITED}",
            "max_output_tokens",
        ),
        ({"temperature": 2.5}, "expected a number of at most 2", "temperature"),
        ({"top_logprobs": 21}, "expected an integer of at most 20", "top_logprobs"),
        ({"include": ["everything"]}, None, "include[0]"),
        ({"metadata": {"k": "v" * 513}}, None, "metadata[...]"),
        ({"reasoning": {"effort": "extreme"}}, None, "reasoning.effort"),
        (
            {"text": {"format": {"type": "xml"}}},
            "invalid value 'xml'; expected one of text, json_object, json_schema",
            "text.format.type",
        ),
        (
            {"text": {"format": {"type": "json_schema", "name": "x"}}},
            "this field is required",
            "text.format.schema",
        ),
        (
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "no"}}}},
            None,
            "text.format.schema.type",
        ),
        ({"stream_options": {"include_usage": True}}, None, "stream_options.include_usage"),
        ({"tools": [{"type": "function", "name": ""}]}, None, "tools[0].name"),
        ({"tools": TOOLS, "tool_choice": {"type": "file_search"}}, None, "tool_choice.type"),
        ({"tool_choice": "any"}, None, "tool_choice"),
        (
            {"tool_choice": "required"},
            "tools has no function that the model can call",
            "tool_choice",
        ),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "name": "sub"}},
            "the request declares no tool 'sub'; expected one of 'add', 'mul'",
            "tool_choice.name",
        ),
        (
            {
                "tools": TOOLS,
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "auto",
                    "tools": [
                        {"type": "function", "name": "add"},
                        {"type": "function", "name": "sub"},
                    ],
                },
            },
            "the request declares no tool 'sub'; expected one of 'add', 'mul'",
            "tool_choice.tools[1].name",
        ),
        (
            {
                "tools": [tool("odd") | {"parameters": {"not": {"type": "string"}}}],
                "tool_choice": "required",
            },
            None,
            "tools[0].parameters.not",
        ),
        (
            {"chat_template_kwargs": {"messages": []}},
            "reserved; the server sets this variable",
            "chat_template_kwargs.messages",
        ),
        ({"background": True}, NOT_STORED, "background"),
        ({"background": 0}, "expected a boolean, got an integer", "background"),
        ({"previous_response_id": "resp_1"}, NO_RESPONSE, None),
        ({"previous_response_id": False}, NO_RESPONSE, None),
        ({"conversation": {"id": "conv_1"}}, reason("conversation"), "conversation"),
        ({"conversation": "conv_1"}, reason("conversation"), "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, reason("prompt"), "prompt"),
        ({"moderation": {"model": "omni"}}, reason("moderation"), "moderation"),
    ],
)
async def test_a_field_at_fault_is_named(service, fields, said, param):
    """A value that cannot be honoured is a 400 whose param is its place in the request."""
    response = await service.post(asked() | fields, path=RESPONSES)
    error = response.json()["error"]
    assert response.status_code == 400, error
    assert error["type"] == "invalid_request_error"
    param = param or next(iter(fields))
    assert error["param"] == param
    assert error["message"] == f"{param}: {said}" if said else error["message"].startswith(param)


@pytest.mark.parametrize("name", ["model", "input"])
async def test_a_field_that_is_missing(service, name):
    """A required field that is not there is a 400 that names it."""
    body = {key: value for key, value in asked().items() if key != name}
    response = await service.post(body, path=RESPONSES)
    assert response.status_code == 400
    assert response.json()["error"]["message"] == f"{name}: this field is required"


BUILT_IN = sorted(
    kind
    for member in get_args(ToolParam)
    for kind in get_args(get_type_hints(member)["type"])
    if kind != "function"
)


@pytest.mark.parametrize("kind", BUILT_IN)
async def test_a_built_in_tool(service, kind):
    """A tool that OpenAI runs is skipped, and the response has it as it was declared."""
    built_in = {"vector_store_ids": ["v"], "server_label": "s", "type": kind}
    response = await respond(service, "hi", tools=[tool("add"), built_in])
    assert response["tools"][0]["name"] == "add"
    assert response["tools"][1] == built_in
    prompt = service.engine.detokenize(service.engine.requests[-1].prompt)
    assert '"add"' in prompt
    assert kind not in prompt


@pytest.mark.parametrize("name", [*sorted(SUPPORT), "background", "previous_response_id"])
async def test_what_is_refused_may_be_null(service, name):
    """A field that asks for nothing is no fault."""
    assert await respond(service, **{name: None})


async def test_what_asks_for_nothing(service):
    """The values that mean what the server does anyway are accepted."""
    include = [*get_args(Includable)]
    assert await respond(service, background=False, include=include)


async def test_a_prompt_over_the_context(start):
    """A prompt that leaves no room is the input's fault, streamed or not."""
    service = await start(context_length=64)
    service.write(reply="Hello.")
    for streamed in (False, True):
        response = await service.post(asked("x" * 100, stream=streamed), path=RESPONSES)
        error = response.json()["error"]
        assert response.status_code == 400
        assert (error["code"], error["param"]) == ("context_length_exceeded", "input")


async def test_a_template_that_refuses(service):
    """What the chat template will not have is the input's fault."""
    service.write(chat_template="{{ raise_exception('no') }}")
    response = await service.post(asked(), path=RESPONSES)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "input"


async def test_unknown_fields_can_be_ignored(start):
    """Where the settings say so they are dropped, in items as well, with a type or without."""
    service = await start(unknown_fields="ignore")
    service.write(reply="Hello.")
    item = USER | {"colour": "red"}
    response = await respond(service, [item, item | {"type": "message"}], colour="blue")
    assert plain(response["output"]) == [message("Hello.")]


# ── the table of fields ─────────────────────────────────────────────────────────────────────────


def test_every_field_of_openai_is_known():
    """The request knows each field that the official client can send, if only to refuse it."""
    known = set(ResponseRequest.__struct_fields__)
    assert {
        *get_type_hints(ResponseCreateParamsNonStreaming),
        *get_type_hints(ResponseCreateParamsStreaming),
    } <= known


def test_every_field_is_documented():
    """Each field is in one of the three tables: honoured, accepted, refused."""
    tables = [documented("Responses", name) for name in ("honoured", "accepted", "refused")]
    assert set.union(*tables) == set(ResponseRequest.__struct_fields__)
    assert sum(map(len, tables)) == len(set.union(*tables))


def test_refused_fields_are_those_with_a_reason():
    """What the table says is refused or has no effect is what the code says."""
    read = {"background", "previous_response_id"}  # where they are used, not where they are decoded
    for table, fate, others in (("accepted", "accepted", set()), ("refused", "refused", read)):
        fields = {name for name, meta in SUPPORT.items() if fate_of(meta.extra) == fate}
        assert documented("Responses", table) == fields | others
