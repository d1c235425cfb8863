"""Each row of the table of errors: status, the whole body, headers."""

import asyncio
import codecs
import json
import logging

import httpx
import msgspec
import pytest

from pilotlight.config import Secret
from pilotlight.models.resolver import Resolver
from tests.conftest import CHAT, chat, events

INVALID = "invalid_request_error"
USER = {"role": "user", "content": "hi"}
DEEP = 5000
NOT_BLANK = "; `GET /v1/models` lists the models"
NOT_UNLIMITED = (
    "; no number means unlimited; omit it, or send a large number: a response ends with the"
    " model's context"
)


def error(message, param=None, *, kind=INVALID, code=INVALID):
    """Return an error's body, whose four keys are always there."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def assert_is(response: httpx.Response, status: int, body) -> None:
    """Show that *response* is this error, and JSON."""
    assert (response.status_code, response.json()) == (status, body)
    assert response.headers["content-type"] == "application/json"


def assert_is_kind(response: httpx.Response, status: int, kind: str, code: str) -> str:
    """Show that *response* is an error of this kind without a param; return its message."""
    detail = response.json()["error"]
    assert response.status_code == status, detail
    assert detail == {"message": detail["message"], "type": kind, "param": None, "code": code}
    return detail["message"]


def assert_no_retry(response: httpx.Response) -> None:
    """Show that *response* tells SDKs that no other try can help."""
    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers
    assert "retry-after-ms" not in response.headers


def assert_retry(response: httpx.Response, *, most: int = 60) -> None:
    """Show that *response* says when to try again, in both headers alike."""
    seconds = int(response.headers["retry-after"])
    milliseconds = int(response.headers["retry-after-ms"])
    assert 1 <= seconds <= most
    assert seconds - 1 < milliseconds / 1000 <= seconds


# ── what a request says ─────────────────────────────────────────────────────────────────────────


EFFORTS = "expected one of high, low, max, medium, minimal, none, xhigh"
ROLES = "expected one of system, developer, user, assistant, tool"
FORMS = "expected one of text, json_object, json_schema"


@pytest.mark.parametrize(
    ("fields", "message", "param"),
    [
        (
            {"temprature": 1},
            "temprature: there is no such field; did you mean temperature?",
            "temprature",
        ),
        ({"x" * 65: 1}, f"{'x' * 65}: there is no such field", "x" * 65),
        ({"": 1}, "the body: there is no such field", ""),
        ({"[.]": 1}, "[.]: there is no such field", "[.]"),
        (
            {"messages": [{"role": "user", "contnt": "hi"}]},
            "messages[0].contnt: there is no such field; did you mean content?",
            "messages[0].contnt",
        ),
        (
            {"reasoning_effort": "hihg"},
            f"reasoning_effort: invalid value 'hihg'; {EFFORTS}",
            "reasoning_effort",
        ),
        (
            {"tools": [{"type": "functn"}]},
            "tools[0].type: invalid value 'functn'; expected function",
            "tools[0].type",
        ),
        (
            {"reasoning": {"effort": "low"}},
            "reasoning: there is no such field; write `reasoning_effort`",
            "reasoning",
        ),
        ({"n_predict": 8}, "n_predict: there is no such field; write `max_tokens`", "n_predict"),
        (
            {"messages": [USER | {"think": True}]},
            "messages[0].think: there is no such field",
            "messages[0].think",
        ),
        (
            {"stream_options": {"usage": True}},
            "stream_options.usage: there is no such field",
            "stream_options.usage",
        ),
        (
            {"messages": [USER | {"colour": "red"}]},
            "messages[0].colour: there is no such field",
            "messages[0].colour",
        ),
        (
            {"messages": [USER, USER, {"content": "hi"}]},
            "messages[2].role: this field is required",
            "messages[2].role",
        ),
        (
            {"messages": [{"role": "user"}]},
            "messages[0].content: this field is required",
            "messages[0].content",
        ),
        (
            {"messages": [{"role": "robot", "content": "hi"}]},
            f"messages[0].role: invalid value 'robot'; {ROLES}",
            "messages[0].role",
        ),
        ({"messages": []}, "messages: expected an array of at least 1 item", "messages"),
        ({"messages": "hi"}, "messages: expected an array, got a string", "messages"),
        ({"messages": None}, "messages: expected an array, got null", "messages"),
        ({"model": ""}, f"model: expected a string of at least 1 character{NOT_BLANK}", "model"),
        ({"model": " \t"}, f"model: expected a string that is not blank{NOT_BLANK}", "model"),
        ({"model": 7}, "model: expected a string, got an integer", "model"),
        (
            {"temperature": "hot"},
            "temperature: expected a number, got a string",
            "temperature",
        ),
        ({"temperature": 2.1}, "temperature: expected a number of at most 2", "temperature"),
        ({"top_p": -0.1}, "top_p: expected a number of at least 0", "top_p"),
        ({"min_p": 1.5}, "min_p: expected a number of at most 1", "min_p"),
        ({"typical_p": -0.1}, "typical_p: expected a number of at least 0", "typical_p"),
        ({"top_n_sigma": -2}, "top_n_sigma: expected a number of at least -1", "top_n_sigma"),
        (
            {"xtc_probability": 2},
            "xtc_probability: expected a number of at most 1",
            "xtc_probability",
        ),
        ({"mirostat": 3}, None, "mirostat"),
        ({"mirostat_eta": -1}, "mirostat_eta: expected a number of at least 0", "mirostat_eta"),
        (
            {"repeat_penalty": 0},
            "repeat_penalty: expected a number of at least 0.01",
            "repeat_penalty",
        ),
        (
            {"repeat_last_n": -2},
            "repeat_last_n: expected an integer of at least -1",
            "repeat_last_n",
        ),
        ({"dry_base": 0.5}, "dry_base: expected a number of at least 1", "dry_base"),
        ({"dry_sequence_breakers": ["a", ""]}, None, "dry_sequence_breakers[1]"),
        ({"dry_sequence_breakers": ["a\0b"]}, None, "dry_sequence_breakers[0]"),
        ({"dry_sequence_breakers": "x"}, None, "dry_sequence_breakers"),
        ({"min_tokens": -1}, "min_tokens: expected an integer of at least 0", "min_tokens"),
        (
            {"repeat_penalty": 1.1, "repetition_penalty": 1.2},
            (
                "repetition_penalty: expected 1.1, like repeat_penalty, its other name; send one"
                " of them"
            ),
            "repetition_penalty",
        ),
        ({"top_k": 1.5}, "top_k: expected an integer, got a number", "top_k"),
        ({"top_k": 2**31}, "top_k: expected an integer of at most 2147483647", "top_k"),
        ({"top_k": 2**200}, None, "top_k"),
        (
            {"max_tokens": 0},
            f"max_tokens: expected an integer of at least 1{NOT_UNLIMITED}",
            "max_tokens",
        ),
        (
            {"max_tokens": -1},
            f"max_tokens: expected an integer of at least 1{NOT_UNLIMITED}",
            "max_tokens",
        ),
        (
            {"max_completion_tokens": -1},
            f"max_completion_tokens: expected an integer of at least 1{NOT_UNLIMITED}",
            "max_completion_tokens",
        ),
        ({"n": 129}, "n: expected an integer of at most 128", "n"),
        ({"stop": ""}, "stop: expected a string of at least 1 character", "stop"),
        ({"stop": ["x", ""]}, "stop[1]: expected a string of at least 1 character", "stop[1]"),
        ({"stop": ["x"] * 17}, "stop: expected an array of at most 16 items", "stop"),
        ({"stop_token_ids": ["7"]}, "stop_token_ids[0]: expected an integer, got a string", None),
        ({"logit_bias": {"7": 101}}, "logit_bias[...]: expected a number of at most 100", None),
        ({"seed": 2**63}, None, "seed"),
        ({"stream": "yes"}, "stream: expected a boolean, got a string", "stream"),
        (
            {"tool_choice": "any"},
            "tool_choice: invalid value 'any'; expected one of auto, none, required",
            "tool_choice",
        ),
        (
            {"tool_choice": "required"},
            "tool_choice: tools has no function that the model can call",
            "tool_choice",
        ),
        (
            {"top_logprobs": 2},
            "top_logprobs: requires logprobs to be true",
            "top_logprobs",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": ""}}]},
            "tools[0].function.name: expected a string of at least 1 character",
            "tools[0].function.name",
        ),
        (
            {"response_format": {"type": "xml"}},
            f"response_format.type: invalid value 'xml'; {FORMS}",
            "response_format.type",
        ),
    ],
)
async def test_a_field_at_fault_is_named(service, fields, message, param):
    """A value that cannot be honoured is a 400 whose param is its place in the request."""
    response = await service.post(chat() | fields)
    said = response.json()["error"]
    assert_is(response, 400, error(message or said["message"], param or said["param"]))
    assert said["message"].startswith(said["param"])


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"messages": [USER]}),
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/responses", {"input": "x"}),
        ("/v1/messages", {"messages": [USER], "max_tokens": 1}),
        ("/v1/messages/count_tokens", {"messages": [USER]}),
        ("/v1/embeddings", {"input": "x"}),
        ("/tokenize", {"content": "x"}),
        ("/detokenize", {"tokens": [1]}),
    ],
)
@pytest.mark.parametrize("name", ["", " ", "\t\n", "\u3000"])
async def test_a_model_name_of_blanks_alone(service, path, fields, name):
    """It names nothing, like an empty one, on every endpoint."""
    response = await service.post(fields | {"model": name}, path=path)
    detail = response.json()["error"]
    assert (response.status_code, detail["param"]) == (400, "model")
    assert detail["message"].endswith(NOT_BLANK)


@pytest.mark.parametrize("name", ["model", "messages"])
async def test_a_field_that_is_missing(service, name):
    """A required field that is not there is a 400 that names it."""
    body = {key: value for key, value in chat().items() if key != name}
    assert_is(await service.post(body), 400, error(f"{name}: this field is required", name))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty, expected a JSON object"),
        (b" \r\n", "the body is empty, expected a JSON object"),
        (b"{", "the body is not valid JSON: input data was truncated"),
        (b"[]", "the body: expected an object, got an array"),
        (b"null", "the body: expected an object, got null"),
        (b'{"model": NaN}', None),
        (b'{"temperature": Infinity}', None),
        (b'{"model": "m"} x', None),
        (b"\xff\xfe", None),
        (b'{"model": "\xff"}', None),
        (b"\x1f\x8b\x08gzip", None),
    ],
)
async def test_a_body_that_is_no_request(service, body, message):
    """A body that is no JSON object is a 400 without a param."""
    response = await service.post(body)
    said = assert_is_kind(response, 400, INVALID, INVALID)
    assert said == (message or said)


@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"1" * 400, b"1e999999999"])
async def test_a_number_beyond_measure(service, number):
    """A number that no float can hold is a 400."""
    body = msgspec.json.encode(chat())[:-1] + b', "temperature": ' + number + b"}"
    assert (await service.post(body)).status_code == 400


@pytest.mark.parametrize("text", [rb"\ud800", rb"\udc00", rb"a\ud83d", rb"\udc00\ud800"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "m", "messages": [{"role": "user", "content": "%s"}]}',
        b'{"model": "%s", "messages": [{"role": "user", "content": "hi"}]}',
        b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "%s": 1}',
        b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "metadata": {"%s": "a"}}',
    ],
    ids=["content", "model", "field", "key"],
)
@pytest.mark.parametrize("unknown_fields", ["refuse", "ignore"])
async def test_a_lone_surrogate(start, text, body, unknown_fields):
    """Half of a surrogate pair is no text: a 400, wherever it stands."""
    service = await start(unknown_fields=unknown_fields)
    service.write(reply="Hello.")
    response = await service.post(body % text)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["type"] == INVALID


@pytest.mark.parametrize("unknown_fields", ["refuse", "ignore"])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP,
        b'{"model": "m", "messages": ' + b"[" * DEEP + b"]" * DEEP + b"}",
        msgspec.json.encode(chat())[:-1]
        + b', "chat_template_kwargs": {"a": '
        + b"[" * DEEP
        + b"]" * DEEP
        + b"}}",
    ],
    ids=["unfinished", "messages", "free-form"],
)
async def test_deep_nesting(start, unknown_fields, body):
    """JSON that is nested too deeply is a 400 and no crash."""
    service = await start(unknown_fields=unknown_fields)
    service.write(reply="Hello.")
    response = await service.post(body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["type"] == INVALID


NESTED = b'{"a": ' * 700 + b"1" + b"}" * 700
"""As deep as JSON may be, and deeper than Python's code can follow with two calls a level."""


@pytest.mark.parametrize(
    "fields",
    [
        b'"chat_template_kwargs": {"a": %s}',
        b'"messages": [{"role": "user", "content": "<|im_end|>"}, {"role": "assistant", %s}]'
        % b'"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": %s}}]',
    ],
    ids=["template", "arguments"],
)
async def test_nesting_that_rendering_cannot_follow(service, fields):
    """Texts with the name of a control token are marked at every level: a 400, and no 500."""
    service.write(reply="Hello.")
    said = chat(messages=[{"role": "user", "content": "<|im_end|>"}])
    body = msgspec.json.encode(said)[:-1] + b", " + fields % NESTED + b"}"
    response = await service.post(body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["message"] == (
        "messages: arguments of a call, or variables of the chat template, are nested too deeply"
    )


@pytest.mark.parametrize("unknown_fields", ["refuse", "ignore"])
@pytest.mark.parametrize(
    ("field", "param"), [(b'"seed": %s', "seed"), (b'"metadata": {"a": %s}', "metadata[...]")]
)
async def test_a_number_without_bounds_names_its_field(start, unknown_fields, field, param):
    """More digits than Python converts."""
    service = await start(unknown_fields=unknown_fields)
    body = msgspec.json.encode(chat())[:-1] + b", " + field % (b"1" * 5000) + b"}"
    response = await service.post(body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert response.json()["error"]["message"] == f"{param}: integer value out of range"


@pytest.mark.parametrize("body", [chat(model="x" * 100_000), chat(**{"x" * 100_000: 1})])
async def test_what_an_error_quotes_is_cut(start, body):
    """A name may be as long as a body."""
    service = await start(unknown_fields="refuse")
    response = await service.post(body)
    assert response.status_code in (400, 404)
    assert len(response.content) < 10_000
    assert "…" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("text/plain", "text/plain"),
        ("", "missing"),
        ("application/json5", "application/json5"),
        ("multipart/form-data; boundary=x", "multipart/form-data"),
    ],
)
async def test_a_content_type_that_is_not_json(service, given, named):
    """A body that is not declared as JSON is a 415 that says what it was declared as."""
    message = f"the content type is {named}, expected application/json"
    response = await service.post(chat(), **{"content-type": given})
    assert_is(response, 415, error(message, code="unsupported_media_type"))


async def test_no_content_type_at_all(service):
    """A body that is declared as nothing is a 415 as well."""
    response = await service.client.post(CHAT, content=b"{}")
    message = "the content type is missing, expected application/json"
    assert_is(response, 415, error(message, code="unsupported_media_type"))


@pytest.mark.parametrize("given", ["APPLICATION/JSON", "application/json; charset=utf-8"])
async def test_a_content_type_that_is_json(service, given):
    """The content type's case and parameters do not matter."""
    assert (await service.post(chat(), **{"content-type": given})).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat()),
        ("/v1/completions", {"model": "m", "prompt": "hi"}),
        ("/v1/responses", {"model": "m", "input": "hi"}),
        ("/v1/messages", {**chat(), "max_tokens": 9}),
        ("/tokenize", {"model": "m", "prompt": "hi"}),
    ],
)
async def test_a_byte_order_mark(service, path, body):
    """It is ignored before UTF-8, as Windows' clients send it (RFC 8259, 8.1)."""
    encoded = msgspec.json.encode(body)
    response = await service.post(codecs.BOM_UTF8 + encoded, path=path)
    assert response.status_code == 200, response.text
    doubled = await service.post(2 * codecs.BOM_UTF8 + encoded, path=path)
    assert doubled.status_code == 400


async def test_a_byte_order_mark_alone_is_an_empty_body(service):
    response = await service.post(codecs.BOM_UTF8 + b"\r\n")
    assert_is(response, 400, error("the body is empty, expected a JSON object"))


@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "UTF-32"),
        ("utf-32-le", "UTF-32"),
        ("utf-32-be", "UTF-32"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
async def test_a_body_that_is_not_utf_8(service, path, encoding, named):
    """With a byte order mark, `utf-16` and `utf-32`, and without."""
    response = await service.post(json.dumps(chat()).encode(encoding), path=path)
    assert response.status_code == 400
    told = response.json()["error"]
    assert told["message"] == f"the body is encoded in {named}, expected UTF-8"


async def chunks():
    """Send a body in pieces, so that no header says how long it is."""
    for _ in range(4):
        yield b" " * 100


@pytest.mark.parametrize("content", [b" " * 400, chunks], ids=["declared", "chunked"])
async def test_a_body_that_is_too_large(start, content):
    """A body over `max_request_bytes` is a 413, whether its length is declared or not."""
    service = await start(max_request_bytes=300)
    response = await service.client.post(
        CHAT,
        content=content if isinstance(content, bytes) else content(),
        headers={"content-type": "application/json"},
    )
    message = "the body is larger than this server accepts"
    assert_is(response, 413, error(message, code="request_too_large"))


async def test_a_prompt_over_the_context(start):
    """A prompt that leaves no room is a 400 with both numbers, streamed or not."""
    service = await start(context_length=64)
    service.write(reply="Hello.")
    # Each byte is a token; the template adds 19: two roles, three line ends, three markers.
    for stream in (False, True):
        response = await service.post(chat(text="x" * 100, stream=stream))
        message = (
            "the prompt has 119 tokens; this model's context length is 64 tokens, prompt and"
            " completion together"
        )
        assert_is(response, 400, error(message, "messages", code="context_length_exceeded"))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop_token_ids": [100_000]}, "stop_token_ids"),
        ({"logit_bias": {"99999": 1}}, "logit_bias"),
    ],
)
async def test_a_value_that_the_backend_refuses(service, fields, param):
    """A value that only the model can judge is a 400 as well, with the request's field."""
    response = await service.post(chat(**fields))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("value", ["wait=soon", "wait=-1", "wait=", "wait=1e3", "wait=nan"])
async def test_prefer_that_is_no_number(service, value):
    """A wait that is no number of seconds is ignored, as RFC 7240 has it for what is malformed."""
    assert (await service.post(chat(), prefer=value)).status_code == 200


@pytest.mark.parametrize("value", ["respond-async", "return=minimal", "handling=strict, wait=3"])
async def test_prefer_that_is_fine(service, value):
    """Other preferences are ignored, as RFC 7240 has it."""
    assert (await service.post(chat(), prefer=value)).status_code == 200


# ── paths and methods ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/nothing", ""),
        ("/v1/files", ""),
        ("/v1/complete", "; did you mean /v1/messages?"),
        ("/v1/chat/completions/x", "; did you mean /v1/chat/completions?"),
        ("/v1/v1/chat/completions", "; did you mean /v1/chat/completions?"),
    ],
)
async def test_a_path_that_is_not_there(service, path, hint):
    """A path without endpoint is a 404 in the one body, with the path that may be meant."""
    message = f"no endpoint at {path}{hint}"
    assert_is(await service.client.get(path), 404, error(message, code="not_found"))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", CHAT, {"POST", "OPTIONS"}),
        ("DELETE", CHAT, {"POST", "OPTIONS"}),
        ("POST", "/v1/models", {"GET", "HEAD", "OPTIONS"}),
        ("DELETE", "/v1/models/m", {"GET", "HEAD", "OPTIONS"}),
        ("PUT", "/livez", {"GET", "HEAD", "OPTIONS"}),
    ],
)
async def test_a_method_that_is_not_allowed(service, method, path, allowed):
    """A method that the path does not know is a 405 that lists those it knows."""
    response = await service.client.request(method, path)
    message = f"{method} is not allowed at {path}"
    assert_is(response, 405, error(message, code="method_not_allowed"))
    assert set(response.headers["allow"].split(", ")) == allowed


# ── models ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["nobody", "org/nobody:1b", "☃"])
async def test_a_model_that_is_not_there(service, name):
    """A request for an unknown model is a 404 with its name."""
    message = f"there is no model {name!r}; GET /v1/models lists the models"
    body = error(message, "model", kind="model_not_found", code="model_not_found")
    assert_is(await service.post(chat(name)), 404, body)


@pytest.mark.parametrize("name", ["asistant", "Assistent", " assistant-7b", "assist"])
async def test_a_model_whose_name_is_misspelt(service, name):
    """The 404 suggests the nearest name."""
    service.write("assistant")
    answer = await service.post(chat(name))
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == (
        f"there is no model {name!r}; did you mean assistant? GET /v1/models lists the models"
    )


async def test_a_model_whose_name_is_a_book(service):
    """A name of a megabyte is compared with none."""
    answer = await service.post(chat("m" * 1_000_000))
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].endswith("'; GET /v1/models lists the models")


async def test_a_model_that_is_loading(service):
    """A load that outlasts the wait is a 503 that says when to come again; then it is there."""
    service.backend.load_gate.hold()
    response = await service.post(chat(), prefer="wait=0")
    body = error("the model 'm' is loading", kind="model_loading", code="model_loading")
    assert_is(response, 503, body)
    assert_retry(response)
    assert response.headers["x-should-retry"] == "true"
    service.backend.load_gate.release()
    assert (await service.post(chat())).status_code == 200


@pytest.mark.parametrize(("most", "told"), [(3.0, "3"), (60.0, "10")])
async def test_retry_after_keeps_to_the_setting(start, most, told):
    """No refusal asks for a longer wait than max_retry_after, whatever its cause estimated.

    A load of which nothing is known says 10 s, wrong keys wait up to a minute.
    """
    keys = {"api_keys": Secret("ann:s3cret"), "failed_keys_per_minute": 1}
    service = await start(max_retry_after=most, **keys)
    service.write()
    service.backend.load_gate.hold()
    loading = await service.post(chat(), prefer="wait=0", authorization="Bearer s3cret")
    assert (loading.status_code, loading.headers["retry-after"]) == (503, told)
    assert loading.headers["retry-after-ms"] == told + "000"
    for _ in range(2):
        refused = await service.post(chat(), authorization="Bearer wrong")
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= most


async def test_a_load_that_fails_for_now(service):
    """A load that may succeed later is a 503 with the cool-down, for the next request too."""
    service.write("t", load_error="transient")
    for _ in range(2):
        response = await service.post(chat("t"))
        message = "t.fake: the model says that its load fails"
        body = error(message, kind="model_load_failed", code="model_load_failed")
        assert_is(response, 503, body)
        assert_retry(response, most=15)
        assert response.headers["x-should-retry"] == "true"
    assert len(service.backend.loads) == 1


async def test_a_load_that_fails_for_good(service):
    """A load that can never succeed is a 503 that tells SDKs not to try again."""
    service.write("bad", load_error="invalid")
    for stream in (False, True):
        response = await service.post(chat("bad", stream=stream))
        message = "bad.fake: the model says that it is invalid"
        body = error(message, kind="model_load_failed", code="model_load_failed")
        assert_is(response, 503, body)
        assert_no_retry(response)


async def test_a_model_that_does_not_fit(service):
    """Too little memory has a code of its own, and both figures."""
    service.write("big", load_error="memory", size_bytes=1000)
    response = await service.post(chat("big"))
    message = "big: the model needs 1000 bytes of memory, 500 bytes are available"
    body = error(message, kind="model_load_failed", code="insufficient_memory")
    assert_is(response, 503, body)
    assert_retry(response, most=15)


async def test_a_model_over_the_budget(start):
    """A model larger than the whole budget never fits: no other try is suggested."""
    service = await start(memory_budget="1000B")
    service.write("big", size_bytes=5000)
    response = await service.post(chat("big"))
    message = assert_is_kind(response, 503, "model_load_failed", "insufficient_memory")
    assert "5000" in message
    assert "1000" in message
    assert_no_retry(response)


@pytest.mark.parametrize("content", [b"GGUF", b"GGUF\x03\x00\x00\x00" + b"\xff" * 64])
async def test_a_file_that_is_damaged(service, content):
    """A damaged GGUF is its own requests' 503; the others are answered."""
    (service.folder / "corrupt.gguf").write_bytes(content)
    response = await service.post(chat("corrupt"))
    message = assert_is_kind(response, 503, "model_load_failed", "model_load_failed")
    assert message.startswith("corrupt.gguf: ")
    assert_no_retry(response)
    assert (await service.post(chat())).status_code == 200


async def test_a_plugin_that_cannot_be_imported(start, install, caplog):
    """A model that a broken plugin may serve is a 503 without its traceback; others go on."""
    install("crooked", "pilotlight_backend.testing.broken_import")
    service = await start()
    service.write(reply="Hello.")
    with caplog.at_level(logging.CRITICAL):
        response = await service.post(chat("unheard-of"))
    message = assert_is_kind(response, 503, "model_load_failed", "model_load_failed")
    assert "crooked" in message
    assert "libfake" not in response.text
    assert_no_retry(response)
    assert (await service.post(chat())).status_code == 200


async def test_no_backend_at_all(start, monkeypatch):
    """Without any backend every model is a 503 that tells SDKs not to try again."""
    monkeypatch.setattr("pilotlight.models.registry.installed", lambda _: ())
    service = await start()
    service.app.state.service.registry._names.clear()
    response = await service.post(chat())
    body = error(
        "no backend is installed; install pilotlight[llama-cpp] or pilotlight[onnx]",
        kind="model_load_failed",
        code="model_load_failed",
    )
    assert_is(response, 503, body)
    assert_no_retry(response)


# ── engines ─────────────────────────────────────────────────────────────────────────────────────


async def test_the_queue_is_full(start):
    """As many requests as may wait do wait; one more is a 429 that says when to come again."""
    service = await start(parallel=1, max_queue=1)
    service.write(reply="Hello.")
    service.backend.token_gate.hold()
    running = asyncio.create_task(service.post(chat()))
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    waiting = asyncio.create_task(service.post(chat()))
    async with asyncio.timeout(10):
        while not service.engine.stats().queued:  # noqa: ASYNC110 - submitting tells no event
            await asyncio.sleep(0.01)
    response = await service.post(chat())
    message = "the queue of this model is full; requests waiting: 1"
    assert_is(response, 429, error(message, kind="rate_limit_error", code="queue_full"))
    assert response.headers["retry-after"] == "5"
    service.backend.token_gate.release()
    assert [(await task).status_code for task in (running, waiting)] == [200, 200]


FAILED = error("the model fails after 2 tokens", kind="inference_error", code="inference_error")


async def test_an_engine_that_fails(service):
    """An engine's failure is a 500 where nothing was sent yet."""
    service.write("f", reply="Hello.", fail_after=2)
    response = await service.post(chat("f"))
    assert_is(response, 500, FAILED)
    assert "retry-after" not in response.headers


async def test_an_engine_that_fails_in_a_stream(service):
    """A stream that breaks ends with the error, the finish reason `error`, and `[DONE]`."""
    service.write("f", reply="Hello.", fail_after=2)
    *chunks, failed, last, done = await service.stream(model="f")
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "He"
    (choice,) = last["choices"]
    assert choice == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "error"}
    assert failed == FAILED
    assert done == "[DONE]"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_nobody_foresaw(service, monkeypatch, caplog, stream):
    """A fault of the server is a 500 without details; the log has them."""

    async def resolve(*_):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(Resolver, "resolve", resolve)
    with caplog.at_level(logging.ERROR):
        response = await service.post(chat(stream=stream))
    message = "internal error; the server's log has the cause"
    assert_is(response, 500, error(message, kind="inference_error", code="inference_error"))
    assert "secret" in caplog.text


async def test_what_nobody_foresaw_in_a_stream(service, monkeypatch):
    """A bug that strikes after the 200 ends the stream as any other error does."""
    await service.ask()

    def feed(*_):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("pilotlight.output.parser.OutputParser.feed", feed)
    gate = service.backend.token_gate
    gate.hold()
    streaming = asyncio.create_task(service.post(chat(stream=True)))
    assert await asyncio.to_thread(gate.wait_reached)  # the stream has begun, without a token
    gate.release()
    response = await streaming
    assert response.status_code == 200
    assert "secret" not in response.text
    *_, failed, last, done = events(response.text)
    assert last["choices"][0]["finish_reason"] == "error"
    assert failed["error"]["type"] == "inference_error"
    assert done == "[DONE]"
