"""`POST /v1/chat/completions`: OpenAI's chat as a projection of one event stream."""

import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, cast

import msgspec
from litestar import MediaType, Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from msgspec import UNSET

from pilotlight.api import sse
from pilotlight.api.disconnect import unless_disconnected
from pilotlight.api.errors import as_service_error, error_body
from pilotlight.api.hold import hold_seconds
from pilotlight.api.operation import Answer, Content, Operation, Parameter
from pilotlight.api.requests import Body
from pilotlight.config import Settings
from pilotlight.errors import (
    ContextLengthExceeded,
    InferenceError,
    InsufficientMemory,
    InvalidRequest,
    ModelLoadFailed,
    ModelLoading,
    ModelNotFound,
    QueueFull,
    RequestTooLarge,
    UnsupportedMediaType,
)
from pilotlight.generation import (
    Begun,
    ChatPrompt,
    Ended,
    GenerationEvent,
    GenerationParams,
    Generator,
)
from pilotlight.output.events import (
    ContentDelta,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from pilotlight.prompt.messages import template_messages, template_tools
from pilotlight.schema.chat import (
    AnsweredFunction,
    AnsweredToolCall,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessage,
    ChatCompletionRequest,
    Choice,
    ChunkChoice,
    CompletionTokensDetails,
    CompletionUsage,
    Delta,
    FinishReason,
    FunctionDelta,
    PromptTokensDetails,
    ToolCallDelta,
)
from pilotlight_backend import SamplingParams

TEMPERATURE, TOP_P, TOP_K, MAX_TOKENS = 1.0, 0.95, 64, 2048
"""What an omitted value means; one that is given is honoured, 0 included."""

_SEEDS = 2**32 - 1
"""Seeds are folded into 32 bits less one value: llama.cpp takes the last for "draw one"."""

_RESERVED = frozenset(
    ("messages", "tools", "add_generation_prompt", "documents", "bos_token", "eos_token")
)
"""What a chat template is given by the service; no request sets these."""

_encoder = msgspec.json.Encoder()


_REQUEST = {"model": "spark", "messages": [{"role": "user", "content": "What is 2+2?"}]}
_USAGE = {
    "prompt_tokens": 15,
    "completion_tokens": 12,
    "total_tokens": 27,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 6},
}
_HEAD = {"id": "chatcmpl-1f0c", "created": 1767225600, "model": "spark"}
_ANSWER = _HEAD | {
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "2 + 2 = 4.",
                "refusal": None,
                "reasoning_content": "2 + 2 = 4",
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": _USAGE,
    "system_fingerprint": "fp_5c2d9a01",
    "thought": "2 + 2 = 4",
}
_CHUNK = _HEAD | {
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"content": "4"}, "logprobs": None, "finish_reason": None}],
    "system_fingerprint": "fp_5c2d9a01",
}

_EVENT = {
    "description": (
        "A message of the stream. Its data is a chunk, after a fault an error, and last `[DONE]`."
    ),
    "type": "object",
    "properties": {
        "data": {
            "anyOf": [
                {
                    "type": "string",
                    "contentMediaType": "application/json",
                    "contentSchema": {
                        "oneOf": [
                            {"$ref": "#/components/schemas/ChatCompletionChunk"},
                            {"$ref": "#/components/schemas/ErrorBody"},
                        ]
                    },
                },
                {"const": "[DONE]"},
            ]
        }
    },
    "required": ["data"],
}

OPERATION = Operation(
    id="createChatCompletion",
    tag="chat",
    summary="Create a chat completion",
    description=(
        "Answers a conversation. With `stream` the answer comes as server-sent events: each message"
        " is a `ChatCompletionChunk`, or an `ErrorBody` where the stream breaks, and the last is"
        " `[DONE]`."
    ),
    parameters=[
        Parameter(
            name="Prefer",
            place="header",
            description=(
                "`wait=N`: seconds to wait for a model that is loading, 0 included, at most 45"
                " (RFC 7240)."
            ),
            schema={"type": "string"},
            example="wait=30",
        )
    ],
    body=Content(
        type=ChatCompletionRequest,
        examples={
            "question": _REQUEST,
            "stream": _REQUEST | {"stream": True, "stream_options": {"include_usage": True}},
            "greedy": _REQUEST | {"temperature": 0, "max_completion_tokens": 64},
        },
    ),
    answers={
        200: Answer(
            description="The answer, whole or as a stream.",
            content=[
                Content(type=ChatCompletion, examples={"sum": _ANSWER}),
                Content(
                    type=ChatCompletionChunk,
                    media_type="text/event-stream",
                    schema=_EVENT,
                    examples={
                        "chunk": f"data: {msgspec.json.encode(_CHUNK).decode()}\n\ndata: [DONE]\n\n"
                    },
                ),
            ],
        )
    },
    errors=[
        InvalidRequest,
        ContextLengthExceeded,
        ModelNotFound,
        RequestTooLarge,
        UnsupportedMediaType,
        QueueFull,
        InferenceError,
        ModelLoading,
        ModelLoadFailed,
        InsufficientMemory,
    ],
)


def chat_handler(path: str, generator: Generator, settings: Settings) -> HTTPRouteHandler:
    """Return the endpoint, served at *path*."""
    body = Body(ChatCompletionRequest)
    ignore_unknown = settings.unknown_fields == "ignore"

    @post(path, status_code=200, opt={"operation": OPERATION})
    async def chat_completions(request: Request[Any, Any, Any]) -> ASGIApp:
        asked = await body.read(request, ignore_unknown=ignore_unknown)
        hold = hold_seconds(request.headers, default=settings.hold)
        generation = generator.generate(generation_params(asked), hold=hold)
        if not asked.stream:
            answer = await unless_disconnected(request.receive, fold(generation))
            return cast("ASGIApp", _json(answer))  # Litestar takes either
        # The first event comes before the 200, so that an early error keeps its own status.
        try:
            first = await unless_disconnected(request.receive, anext(generation))
        except BaseException:
            await generation.aclose()
            raise
        return sse.EventSourceResponse(_stream(request, first, generation, asked))

    return chat_completions


def generation_params(asked: ChatCompletionRequest) -> GenerationParams:
    """Return what *asked* means, with the defaults for what it leaves out."""
    variables = dict(asked.chat_template_kwargs or {})
    for name in _RESERVED & variables.keys():
        raise InvalidRequest(
            f"chat_template_kwargs.{name}: the request gives this elsewhere",
            param=f"chat_template_kwargs.{name}",
        )
    if asked.reasoning_effort is not None:
        variables.setdefault("reasoning_effort", asked.reasoning_effort)
        variables.setdefault("enable_thinking", asked.reasoning_effort != "none")
    tools = None if asked.tool_choice == "none" else template_tools(asked.tools)
    max_tokens = asked.max_completion_tokens or asked.max_tokens or MAX_TOKENS
    stop = asked.stop or ()
    return GenerationParams(
        model=asked.model,
        prompt=ChatPrompt(template_messages(asked.messages), tools, variables),
        max_tokens=max_tokens,
        sampling=_sampling(asked),
        stops=(stop,) if isinstance(stop, str) else tuple(stop),
        stop_token_ids=frozenset(asked.stop_token_ids or ()),
        parse_tool_calls=tools is not None,
    )


def _sampling(asked: ChatCompletionRequest) -> SamplingParams:
    return SamplingParams(
        temperature=_or(asked.temperature, TEMPERATURE),
        top_p=_or(asked.top_p, TOP_P),
        top_k=_or(asked.top_k, TOP_K),
        min_p=_or(asked.min_p, 0.0),
        presence_penalty=_or(asked.presence_penalty, 0.0),
        frequency_penalty=_or(asked.frequency_penalty, 0.0),
        logit_bias={int(token): bias for token, bias in (asked.logit_bias or {}).items()},
        seed=None if asked.seed is None else asked.seed % _SEEDS,
    )


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _json(answer: ChatCompletion) -> Response[bytes]:
    return Response(_encoder.encode(answer), status_code=200, media_type=MediaType.JSON)


def _usage(ended: Ended) -> CompletionUsage:
    usage = ended.usage
    return CompletionUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens=ended.reasoning_tokens),
    )


def _new_id() -> str:
    return f"chatcmpl-{secrets.token_hex(12)}"


# ── the whole answer ────────────────────────────────────────────────────────────────────────────


async def fold(generation: AsyncGenerator[Sequence[GenerationEvent]]) -> ChatCompletion:
    """Return the answer that the events of *generation* add up to."""
    content: list[str] = []
    thought: list[str] = []
    calls: list[tuple[ToolCallStart, list[str]]] = []
    begun: Begun | None = None
    async with aclosing(generation):
        async for events in generation:
            for event in events:
                match event:
                    case ContentDelta():
                        content.append(event.text)
                    case ReasoningDelta():
                        thought.append(event.text)
                    case ToolCallStart():
                        calls.append((event, []))
                    case ToolCallArguments():
                        calls[event.index][1].append(event.text)
                    case Begun():
                        begun = event
                    case Ended():
                        ended = event
    assert begun  # noqa: S101 - a generation begins, or raises
    reasoning = "".join(thought) or UNSET
    tool_calls = [
        AnsweredToolCall(
            id=start.id,
            function=AnsweredFunction(name=start.name, arguments="".join(arguments)),
        )
        for start, arguments in calls
    ]
    message = ChatCompletionMessage(
        content="".join(content) if content or not calls else None,
        reasoning_content=reasoning,
        tool_calls=tool_calls or UNSET,
    )
    return ChatCompletion(
        id=_new_id(),
        created=int(time.time()),
        model=begun.model,
        choices=[Choice(message=message, finish_reason=ended.reason)],
        usage=_usage(ended),
        system_fingerprint=begun.fingerprint,
        thought=reasoning,
    )


# ── the stream ──────────────────────────────────────────────────────────────────────────────────


class Chunks:
    """Turns one answer's events into chunks."""

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._id = _new_id()
        self._created = int(time.time())
        self._model = ""
        self._fingerprint = ""

    def of(self, event: GenerationEvent) -> Sequence[ChatCompletionChunk]:
        """Return what a stream says of *event*."""
        match event:
            case ContentDelta():
                return (self._chunk(Delta(content=event.text)),)
            case ReasoningDelta():
                return (self._chunk(Delta(reasoning_content=event.text), thought=event.text),)
            case ToolCallArguments():
                function = FunctionDelta(arguments=event.text)
                return (self._call(ToolCallDelta(index=event.index, function=function)),)
            case ToolCallStart():
                function = FunctionDelta(name=event.name, arguments="")
                call = ToolCallDelta(
                    index=event.index, id=event.id, type="function", function=function
                )
                return (self._call(call),)
            case Begun():
                self._model = event.model
                self._fingerprint = event.fingerprint
                return (self._chunk(Delta(role="assistant", content="")),)
            case Ended():
                last = self.finish(event.reason)
                return (last, self._usage(event)) if self._include_usage else (last,)

    def finish(self, reason: FinishReason) -> ChatCompletionChunk:
        """Return the chunk that carries the finish reason."""
        return self._chunk(Delta(), finish_reason=reason)

    def _call(self, call: ToolCallDelta) -> ChatCompletionChunk:
        return self._chunk(Delta(tool_calls=[call]))

    def _chunk(
        self,
        delta: Delta,
        *,
        finish_reason: FinishReason | None = None,
        thought: str | msgspec.UnsetType = UNSET,
    ) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[ChunkChoice(delta=delta, finish_reason=finish_reason)],
            usage=None if self._include_usage else UNSET,
            system_fingerprint=self._fingerprint,
            thought=thought,
        )

    def _usage(self, ended: Ended) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[],
            usage=_usage(ended),
            system_fingerprint=self._fingerprint,
        )


async def _stream(
    request: Request[Any, Any, Any],
    first: Sequence[GenerationEvent],
    generation: AsyncGenerator[Sequence[GenerationEvent]],
    asked: ChatCompletionRequest,
) -> AsyncGenerator[bytes]:
    """Yield the stream's bytes; what goes wrong on the way ends it with an error and `[DONE]`."""
    options = asked.stream_options
    chunks = Chunks(include_usage=bool(options and options.include_usage))
    async with aclosing(generation):
        try:
            yield _messages(chunks, first)
            async for events in generation:
                yield _messages(chunks, events)
        except Exception as error:  # noqa: BLE001 - the status is sent; only the stream can tell
            body = error_body(as_service_error(error, request))
            yield sse.encode(chunks.finish("error")) + sse.encode(body)
        yield sse.DONE


def _messages(chunks: Chunks, events: Sequence[GenerationEvent]) -> bytes:
    return b"".join(sse.encode(chunk) for event in events for chunk in chunks.of(event))
