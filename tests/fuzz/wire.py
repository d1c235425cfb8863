"""What comes in requests, and how answers are framed."""

import asyncio
import gzip
import json
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
from backports import zstd
from hypothesis import strategies as st

from pilotlight.access.keys import presented
from pilotlight.api.endpoints.chat.conversation import chat_conversation
from pilotlight.api.endpoints.chat.tools import tool_of
from pilotlight.api.endpoints.messages import conversation as messages
from pilotlight.api.endpoints.responses import conversation as responses
from pilotlight.api.http import sse
from pilotlight.api.http.bodies import BodyDecoder
from pilotlight.api.http.content_coding import SUPPORTED, decoded
from pilotlight.api.http.paths import Paths
from pilotlight.api.params.hold import MOST, hold_of
from pilotlight.errors import InvalidRequest
from pilotlight.models.loaded import FOREVER
from pilotlight.prompt.template_variables import template_variables
from pilotlight.schema.chat.request import ChatCompletionRequest, Tool
from pilotlight.schema.completions import CompletionRequest
from pilotlight.schema.declared import offered
from pilotlight.schema.embeddings import EmbeddingRequest
from pilotlight.schema.messages.request import CountTokensRequest, MessagesRequest
from pilotlight.schema.rerank import RerankRequest
from pilotlight.schema.responses.request import ResponseRequest
from pilotlight.schema.tokens import DetokenizeRequest, TokenizeRequest
from tests.fuzz.case import bounded, case
from tests.fuzz.strategies import altered, damaged, json_values, text_of

# ── bodies ──────────────────────────────────────────────────────────────────────────────────────

_FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
_USER = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}}
_SAMPLING = {"model": "m", "temperature": 0.5, "top_p": 1, "top_k": 4.0, "seed": 7, "stop": ["x"]}

_MOST_DECODED = 100_000

_BODIES: dict[type, Any] = {
    ChatCompletionRequest: _SAMPLING
    | {
        "messages": [
            {"role": "system", "content": "s"},
            _USER,
            {"role": "assistant", "content": None, "tool_calls": [_CALL]},
            {"role": "tool", "tool_call_id": "c", "content": "r"},
            {"role": "user", "content": [_IMAGE, {"type": "text", "text": "what is it"}]},
        ],
        "tools": [{"type": "function", "function": _FUNCTION}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        "stream": True,
        "stream_options": {"include_usage": True},
        "logit_bias": {"5": 1.5},
        "logprobs": True,
        "top_logprobs": 2,
        "n": 2,
        "max_completion_tokens": 8,
    },
    CompletionRequest: _SAMPLING
    | {"prompt": [[1, 2], [3]], "echo": True, "best_of": 2, "logprobs": 1, "suffix": None},
    ResponseRequest: {
        "model": "m",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"role": "assistant", "content": "a"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "r"},
            {"role": "user", "content": [{"type": "input_image", "image_url": "https://a/b"}]},
            {"type": "reasoning", "id": "r", "summary": []},
        ],
        "tools": [{"type": "function"} | _FUNCTION],
        "tool_choice": "auto",
        "text": {"format": {"type": "text"}},
        "reasoning": {"effort": "low"},
        "max_output_tokens": 5.0,
    },
    MessagesRequest: {
        "model": "m",
        "max_tokens": 8,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}],
            },
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "f"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "stop_sequences": ["x"],
    },
    CountTokensRequest: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    RerankRequest: {"model": "m", "query": "a", "documents": ["b", {"text": "c"}], "top_n": 1},
    EmbeddingRequest: {"model": "m", "input": ["a", "b"], "encoding_format": "base64"},
    TokenizeRequest: {"model": "m", "content": "hi", "add_special": True},
    DetokenizeRequest: {"model": "m", "tokens": [1, 2.0]},
}
_DECODERS = {kind: BodyDecoder(kind) for kind in _BODIES}


@st.composite
def _requests(draw: st.DrawFn) -> tuple[type, bytes]:
    kind = draw(st.sampled_from(list(_BODIES)))
    valid = _BODIES[kind]
    body = draw(
        st.one_of(
            altered([valid]).map(lambda value: json.dumps(value).encode()),
            altered([valid]).map(lambda value: json.dumps(value).encode()),
            damaged(json.dumps(valid).encode()),
            json_values.map(lambda value: json.dumps(value).encode()),
            st.binary(),
            st.sampled_from((b"[" * 100_000, b'{"a":' * 50_000, b"1e999", b'"\\ud800"', b"NaN")),
        )
    )
    return kind, body


@case("request bodies", short=170, request=_requests(), ignore_unknown=st.booleans())
def request_bodies(request: tuple[type, bytes], ignore_unknown: bool) -> None:  # noqa: FBT001
    """A struct that can be written again and is the same then, or `InvalidRequest`."""
    kind, body = request
    with bounded():
        try:
            read = _DECODERS[kind].decode(body, ignore_unknown=ignore_unknown)
        except InvalidRequest as error:
            assert json.dumps(str(error))
            return
        assert type(read) is kind
        if isinstance(read, ChatCompletionRequest):
            tools = [tool_of(tool) for tool in offered(read.tools, Tool)]
            msgspec.json.encode(template_variables(chat_conversation(read.messages, tools)))
        elif isinstance(read, CountTokensRequest):
            msgspec.json.encode(template_variables(messages.conversation_of(read, ())))
        elif isinstance(read, ResponseRequest):
            with suppress(InvalidRequest):  # it sets a variable that is the service's
                msgspec.json.encode(template_variables(responses.conversation_of(read, ())))
        written = msgspec.json.encode(read)
        assert _DECODERS[kind].decode(written, ignore_unknown=False) == read


@case("valid bodies", short=20, kind=st.sampled_from(list(_BODIES)))
def valid_bodies(kind: type) -> None:
    """What the bodies above are made from is valid, so that not all is refused at once."""
    _DECODERS[kind].decode(json.dumps(_BODIES[kind]).encode(), ignore_unknown=False)


_SMALL = gzip.compress(b'{"model": "m"}')
_BOMB = gzip.compress(bytes(2 * _MOST_DECODED))


@case(
    "compressed bodies",
    short=70,
    coding=st.sampled_from(SUPPORTED),
    body=damaged(_SMALL)
    | damaged(zlib.compress(_SMALL))
    | damaged(zstd.compress(_SMALL))
    | damaged(_BOMB)
    | st.binary()
    | st.just(gzip.compress(b"") * 2000),
    length=st.integers(1, 5000),
)
def compressed_bodies(coding: str, body: bytes, length: int) -> None:
    """Bytes within the limit, or an error that says what is wrong, however the body is cut."""

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), length):
            yield body[at : at + length]

    async def read() -> int:
        return sum([len(step) async for step in decoded(pieces(), coding, _MOST_DECODED)])

    with bounded():
        try:
            assert asyncio.run(read()) <= _MOST_DECODED
        except InvalidRequest as error:  # RequestTooLarge is one
            assert json.dumps(str(error))


_PATHS = Paths(("/livez", "/swagger/{file:str}", "/v1/chat/completions", "/v1/models/{m:path}"))
_segments = ("/", "v1", "chat", "completions", "models", "api", "livez", "\n", "%2f", "..", "é", "")


@case("paths", short=100, path=text_of(_segments).map("/".__add__) | st.text())
def paths(path: str) -> None:
    """An alias is one of a path that is served; so is what a wrong path is said to mean."""
    with bounded():
        full, meant = _PATHS.aliased(path), _PATHS.meant_by(path)
    assert full is None or (_PATHS.serves(full) and full == f"/v1{path}")
    assert meant is None or _PATHS.serves(meant)


# ── headers ─────────────────────────────────────────────────────────────────────────────────────

_PREFER = ("wait=", "wait", "=", '"', "10", "0.5", "9" * 12, ",", ";", " ", "respond-async", "nan")
_prefer = text_of(_PREFER)


@case(
    "hold headers",
    short=70,
    headers=st.dictionaries(
        st.sampled_from(
            (
                *("prefer", "x-stainless-retry-count"),
                *("x-stainless-read-timeout", "x-stainless-timeout"),
            )
        ),
        _prefer,
    ),
    default=st.floats(0, 100),
    flags=st.tuples(st.booleans(), st.booleans()),
)
def hold_headers(headers: dict[str, str], default: float, flags: tuple[bool, bool]) -> None:
    """A wait that is none or one that proxies bear, whatever the client says of it."""
    with bounded():
        hold = hold_of(headers, default=default, to_the_end=flags[0], shows_loading=flags[1])
    assert 0 <= hold.seconds <= MOST or (flags[1] and hold.seconds == FOREVER)


@case(
    "key headers",
    short=30,
    headers=st.lists(
        st.tuples(
            st.sampled_from((b"authorization", b"x-api-key", b"accept")),
            st.binary() | text_of(("Bearer ", "bearer", "Basic ", "key", " ")).map(str.encode),
        )
    ),
)
def key_headers(headers: list[tuple[bytes, bytes]]) -> None:
    """Keys that were there, without space around them, and never an empty one."""
    with bounded():
        keys = presented(headers)
    assert all(key and key == key.strip() for key in keys)
    assert all(any(key in value for _, value in headers) for key in keys)


# ── server-sent events ──────────────────────────────────────────────────────────────────────────

_lines = text_of(("\r", "\n", "\r\n", "\x0b", "\x85", "\u2028", "data: ", ":", "event: x", "\0"))


def _read(stream: bytes) -> list[tuple[str, str]]:
    """Return the events' types and data, as the HTML standard (9.2.6) has a stream read."""
    found, kind, data = [], "", []
    for line in re.split("\r\n|\r|\n", stream.decode()):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                found.append((kind, "\n".join(data)))
            kind, data = "", []
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
    return found


@case("server-sent events", short=70, said=_lines, event=st.dictionaries(_lines, _lines))
def server_sent_events(said: str, event: dict[str, str]) -> None:
    """A comment is no event, whatever it holds, and an event comes back as it was."""
    stream = (
        sse.comment(said) + sse.encode(event) + sse.comment(said) + sse.encode_named("x", event)
    )
    assert [(kind, json.loads(data)) for kind, data in _read(stream)] == [("", event), ("x", event)]


CASES = (
    request_bodies,
    valid_bodies,
    compressed_bodies,
    paths,
    hold_headers,
    key_headers,
    server_sent_events,
)
