"""`POST /v1/chat/completions`: from the request to a generation, and its answer as bytes."""

from typing import Any, cast

import msgspec
from litestar import MediaType, Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from pilotlight.api.chat_answer import fold
from pilotlight.api.chat_operation import OPERATION
from pilotlight.api.chat_stream import ChatStream, loading_shown
from pilotlight.api.disconnect import unless_disconnected
from pilotlight.api.hold import hold_of
from pilotlight.api.requests import Body
from pilotlight.config import Settings
from pilotlight.errors import InvalidRequest
from pilotlight.generation import ChatPrompt, GenerationParams, Generator
from pilotlight.prompt.messages import template_messages, template_tools
from pilotlight.receipt import Phases, server_timing
from pilotlight.schema.chat import ChatCompletion, ChatCompletionRequest
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


def chat_handler(path: str, generator: Generator, settings: Settings) -> HTTPRouteHandler:
    """Return the endpoint, served at *path*."""
    body = Body(ChatCompletionRequest)
    ignore_unknown = settings.unknown_fields == "ignore"

    @post(path, status_code=200, opt={"operation": OPERATION})
    async def chat_completions(request: Request[Any, Any, Any]) -> ASGIApp:
        asked = await body.read(request, ignore_unknown=ignore_unknown)
        hold = hold_of(
            request.headers,
            default=settings.hold,
            to_the_end=settings.platform == "cloud_run",
            shows_loading=bool(asked.stream and loading_shown(asked)),
        )
        generation = generator.generate(generation_params(asked), hold=hold)
        if not asked.stream:
            answer, receipt = await unless_disconnected(request.receive, fold(generation))
            return cast("ASGIApp", _json(answer, receipt))  # Litestar takes either
        stream = ChatStream(request, generator, generation, asked)
        return await stream.response()

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


def _json(answer: ChatCompletion, receipt: Phases | None) -> Response[bytes]:
    headers = {} if receipt is None else {"Server-Timing": server_timing(receipt)}
    return Response(
        _encoder.encode(answer), status_code=200, media_type=MediaType.JSON, headers=headers
    )
