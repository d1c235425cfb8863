"""The requests of a soak: those with one right response, and those that are refused."""

import base64
import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from benchmarks.raw_http import Answer, get, post

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
MESSAGES, EMBEDDINGS = "/v1/messages", "/v1/embeddings"
LARGEST = 200_000
"""The server's `max_request_bytes`."""

Story: TypeAlias = Any
"""A response without the fields that differ between responses."""

_ROUNDING = 1e-3
"""Tolerance for the numbers of an embedding."""
_LOGPROB, _PROBABILITY = 0.4, 0.05
"""Tolerances of a token's log probability, and of its probability, against those without load.

A prompt's token that is evaluated in a step of its own goes through other kernels than among
several (llama.cpp's `llamafile_sgemm` leaves a single column to `vec_dot`; ONNX Runtime shows the
same). Their rounding differs, and more where activations are quantised to eight bits. That happens
beside other requests, behind a cached prefix: here "Hello!" of `spark` is evaluated as 3 cached
tokens, 1 and 10, and a log probability of -11.75 becomes -11.65. An engine that evaluates the same
prompt token by token, without other requests, returns the same numbers to the bit
(`benchmarks.rounding`), so the cause is no cell of another request. Over 40 prompts of `spark` the
difference was at most 0.23, with ONNX 0.28, and 0.03 of a probability; one wrong token among a
hundred made 0.8.
"""

_INVALID = "invalid_request_error"

_PASSING = frozenset(
    {
        *("id", "created", "created_at", "completed_at", "call_id", "item_id"),
        # The cached tokens depend on what a slot holds.
        *("prompt_tokens_details", "input_tokens_details"),
        *("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
    }
)
_COUNTING = {
    "name": "count",
    "description": "Counts.",
    "parameters": {
        "type": "object",
        "properties": {"to": {"type": "integer", "minimum": 1, "maximum": 99}},
        "required": ["to"],
        "additionalProperties": False,
    },
}
_PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"enum": [7, 8]}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


class Question(Struct, frozen=True, kw_only=True):
    """A request with one right response."""

    name: str
    path: str
    fields: Mapping[str, Any]
    streamed: bool = False
    embeds: bool = False

    def request(self, model: str, *, wait: bool = False) -> bytes:
        """Return the request to *model*; it may *wait* for its load."""
        patience = {"Prefer": "wait=45"} if wait else {}
        return post(self.path, {"model": model, **self.fields}, patience)


class Fault(Struct, frozen=True, kw_only=True):
    """A request that is refused, with the *status* and the *code* of its error."""

    name: str
    request: Callable[[str, str], bytes]
    """Bodies for a model that generates and for one that embeds."""
    status: int
    code: str | None
    """None where HTTP itself is broken: such a response has no code."""


def _user(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def _question(name: str, path: str, *, tokens: str = "max_tokens", **fields: Any) -> Question:
    greedy = {"temperature": 0, tokens: fields.pop("most", 80), **fields}
    return Question(name=name, path=path, fields=greedy, streamed=bool(fields.get("stream")))


def questions() -> list[Question]:
    """Return every kind of request with one right response: it is greedy."""
    forced = {"tools": [{"type": "function", "function": _COUNTING}], "tool_choice": "required"}
    schema = {"type": "json_schema", "json_schema": {"name": "person", "schema": _PERSON}}
    responses = {"tokens": "max_output_tokens", "input": "What is 2+2?"}
    text = {"format": {"type": "json_schema", "name": "person", "schema": _PERSON}}
    used = {
        "tools": [{"name": "count", "input_schema": _COUNTING["parameters"]}],
        "tool_choice": {"type": "any"},
    }
    shown = {"stream": True, "stream_options": {"include_usage": True}}
    return [
        _question("chat", CHAT, **_user("What is 2+2?")),
        _question("chat, logprobs", CHAT, **_user("Hello!"), logprobs=True, top_logprobs=3),
        _question("chat, streamed", CHAT, **_user("Count from 1 to 60."), most=200, **shown),
        _question("chat, n=3", CHAT, **_user("Tell me a story."), n=3),
        _question("chat, n=3, streamed", CHAT, **_user("Who are you?"), n=3, **shown),
        _question("chat, tools required", CHAT, **_user("Count to 7."), **forced),
        _question("chat, tools, streamed", CHAT, **_user("Count to 8."), **forced, **shown),
        _question("chat, JSON schema", CHAT, **_user("Who is it?"), response_format=schema),
        _question("completions", COMPLETIONS, prompt=["Once", "2+2 is"], most=40),
        _question("completions, streamed", COMPLETIONS, prompt="Once", most=60, stream=True),
        _question("responses", RESPONSES, **responses),
        _question("responses, streamed", RESPONSES, **responses, stream=True),
        _question("responses, JSON schema", RESPONSES, **responses, text=text),
        _question("messages", MESSAGES, **_user("Hello!")),
        _question("messages, streamed", MESSAGES, **_user("What is 3+3?"), stream=True),
        _question("messages, a tool", MESSAGES, **_user("Count to 9."), **used),
        Question(
            name="count_tokens", path=f"{MESSAGES}/count_tokens", fields=_user("How many are we?")
        ),
        Question(
            name="tokenize", path="/tokenize", fields={"prompt": "Hello, you.", "with_pieces": True}
        ),
        Question(name="detokenize", path="/detokenize", fields={"tokens": [80, 81, 82]}),
        Question(
            name="embeddings",
            path=EMBEDDINGS,
            fields={"input": ["the cat sat", "the dog ran home", "on the mat " * 20]},
            embeds=True,
        ),
        Question(
            name="embeddings, base64",
            path=EMBEDDINGS,
            fields={"input": "what is on the mat", "encoding_format": "base64"},
            embeds=True,
        ),
    ]


def faults() -> list[Fault]:
    """Return every kind of request that is refused."""
    return [*_broken_requests(), *_refused_chats(), *_other_refused()]


def _broken_requests() -> list[Fault]:
    """Return requests that are refused for every model."""

    def raw(name: str, status: int, code: str | None, request: bytes) -> Fault:
        return Fault(name=name, request=lambda *_: request, status=status, code=code)

    return [
        raw("no JSON", 400, _INVALID, post(CHAT, b'{"model": ')),
        raw("no UTF-8", 400, _INVALID, post(CHAT, b'{"model": "\xff"}')),
        raw("an empty body", 400, _INVALID, post(CHAT, b"")),
        raw("nested too deeply", 400, _INVALID, post(CHAT, b"[" * 100_000)),
        raw("too large", 413, "request_too_large", post(CHAT, b" " * (LARGEST + 1))),
        raw("no path", 404, "not_found", post("/v1/nothing", {})),
        raw("no method", 405, "method_not_allowed", get(CHAT)),
        raw("no HTTP", 400, None, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"),
        raw(
            "no media type",
            415,
            "unsupported_media_type",
            post(CHAT, {}, {"Content-Type": "text/plain"}),
        ),
    ]


def _refused_chats() -> list[Fault]:
    def chat(name: str, status: int = 400, code: str = _INVALID, **fields: Any) -> Fault:
        def request(model: str, _: str) -> bytes:
            return post(CHAT, {"model": model, **_user("Hello!"), **fields})

        return Fault(name=name, request=request, status=status, code=code)

    def form(schema: Any) -> Any:
        return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    return [
        chat("no model", 404, "model_not_found", model="nobody"),
        chat("a wrong type", messages="Hello!"),
        chat("out of range", temperature=9),
        chat("an unknown field", temprature=0),
        chat("no role", messages=[{"content": "Hello!"}]),
        chat("no tools", tool_choice="required"),
        chat("too long", 400, "context_length_exceeded", **_user("word " * 3000)),
        chat("a schema that is none", response_format=form({"type": "strng"})),
        chat("a schema of what is not honoured", response_format=form({"uniqueItems": True})),
        chat("a reference to nowhere", response_format=form({"$ref": "#/$defs/x"})),
    ]


def _other_refused() -> list[Fault]:
    return [
        Fault(
            name="chat with a model that embeds",
            request=lambda _, embedder: post(CHAT, {"model": embedder, **_user("Hello!")}),
            status=400,
            code=_INVALID,
        ),
        Fault(
            name="embeddings of a model that writes",
            request=lambda model, _: post(EMBEDDINGS, {"model": model, "input": "x"}),
            status=400,
            code=_INVALID,
        ),
        Fault(
            name="embeddings, too long",
            request=lambda _, embedder: post(
                EMBEDDINGS, {"model": embedder, "input": ["cat", "the cat " * 1000]}
            ),
            status=400,
            code="context_length_exceeded",
        ),
        Fault(
            name="messages without max_tokens",
            request=lambda model, _: post(MESSAGES, {"model": model, **_user("Hello!")}),
            status=400,
            code=_INVALID,
        ),
        Fault(
            name="detokenize what is no token",
            request=lambda model, _: post("/detokenize", {"model": model, "tokens": [10**8]}),
            status=400,
            code=_INVALID,
        ),
    ]


def story(answer: Answer, *, streamed: bool) -> Story:
    """Return *answer* without the fields that differ between responses."""
    if not streamed:
        return _lasting(answer.json)
    told: dict[str, str] = {}
    for key, text in _told(answer.body.decode()):
        told[key] = told.get(key, "") + text
    return told


def _lasting(value: Any) -> Any:
    """Return *value* without the fields that differ between responses."""
    match value:
        case {"embedding": str(encoded)}:
            content = base64.b64decode(encoded)
            return list(struct.unpack(f"<{len(content) // 4}f", content))
        case dict():
            return {key: _lasting(one) for key, one in value.items() if key not in _PASSING}
        case list():
            return [_lasting(one) for one in value]
        case _:
            return value


def differences(told: Story, expected: Story, place: str = "") -> Iterator[str]:
    """Yield the paths at which two stories differ by more than rounding.

    Beside other requests a text is evaluated in batches of other sizes, which round differently.
    """
    match told, expected:
        case dict(), dict():
            for key in {**told, **expected}:
                yield from differences(told.get(key), expected.get(key), f"{place}.{key}")
        case list(), list() if len(told) == len(expected):
            for index, (one, other) in enumerate(zip(told, expected, strict=True)):
                yield from differences(one, other, f"{place}[{index}]")
        case float(), float() if _alike(told, expected, place):
            pass
        case _ if told != expected:
            yield f"{place} is {told!r} and not {expected!r}"


def _alike(told: float, expected: float, place: str) -> bool:
    """Return whether two numbers at *place* differ by rounding at most."""
    if place.endswith(".logprob"):
        near = abs(told - expected) <= _LOGPROB
        return near and abs(math.exp(told) - math.exp(expected)) <= _PROBABILITY
    return math.isclose(told, expected, rel_tol=_ROUNDING, abs_tol=_ROUNDING)


def _told(body: str) -> Iterator[tuple[str, str]]:
    """Yield the pieces of a stream with their kinds: where it is cut does not matter."""
    for line in body.splitlines():
        if not line.startswith("data: "):
            continue
        if line == "data: [DONE]":
            yield "done", "yes"
            continue
        event = json.loads(line.removeprefix("data: "))
        yield from _pieces("error", event.get("error"))
        for choice in event.get("choices", ()):
            yield from _pieces(f"choice {choice['index']}", choice)
        if "choices" in event:
            yield from _pieces("usage", _lasting(event.get("usage")))
        elif isinstance(event.get("delta"), str):
            yield f"{event['type']} {event['output_index']}", event["delta"]
        else:
            yield from _pieces(
                f"{event['type']} {event.get('index')}", _lasting(event.get("delta"))
            )


def _pieces(key: str, value: Any) -> Iterator[tuple[str, str]]:
    match value:
        case dict():
            for name, one in value.items():
                if name not in _PASSING:
                    yield from _pieces(f"{key}.{name}", one)
        case list():
            for one in value:
                yield from _pieces(key, one)
        case None:
            pass
        case _:
            yield key, str(value)
