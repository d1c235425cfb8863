"""`POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's API."""

from collections.abc import Sequence
from typing import Any, cast

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from pilotlight.api.endpoints.messages.operation import COUNT_TOKENS, CREATE
from pilotlight.api.endpoints.messages.params import generation_params, prompt_of
from pilotlight.api.endpoints.messages.projection import Asked, fold
from pilotlight.api.endpoints.messages.stream import PING, MessagesProjection
from pilotlight.api.endpoints.messages.tools import offer_of
from pilotlight.api.http.auth import account_of
from pilotlight.api.http.bodies import Body
from pilotlight.api.http.disconnect import unless_disconnected
from pilotlight.api.http.error_bodies import MESSAGES
from pilotlight.api.http.keep_alive import KeepAlive
from pilotlight.api.http.stream import AnswerStream
from pilotlight.api.http.whole_response import json_response
from pilotlight.api.params.amounts import check_amounts
from pilotlight.api.params.hold import hold_of
from pilotlight.config import Settings
from pilotlight.generation import Generator
from pilotlight.models.loaded import Hold
from pilotlight.schema.messages.request import (
    CountTokensRequest,
    MessagesRequest,
    ThinkingAdaptive,
    ThinkingEnabled,
)
from pilotlight.schema.messages.response import TokensCount


def messages_handlers(generator: Generator, settings: Settings) -> Sequence[HTTPRouteHandler]:
    """Return the two endpoints."""
    message_body, count_body = Body(MessagesRequest), Body(CountTokensRequest)
    ignore_unknown = settings.unknown_fields == "ignore"

    def hold(request: Request[Any, Any, Any]) -> Hold:
        return hold_of(
            request.headers,
            default=settings.hold,
            to_the_end=settings.platform == "cloud_run",
        )

    @post(MESSAGES, status_code=200, opt={"operation": CREATE})
    async def create_message(request: Request[Any, Any, Any]) -> ASGIApp:
        wanted = await message_body.read(request, ignore_unknown=ignore_unknown)
        check_amounts(wanted, settings)
        generation = generator.generate(
            generation_params(wanted),
            hold=hold(request),
            caller=account_of(request),
            announces=bool(wanted.stream and settings.sse_ping_interval),
        )
        asked = _asked(wanted)
        if wanted.stream:
            projection = MessagesProjection(asked)
            keep_alive = KeepAlive(PING, settings.sse_ping_interval)
            return await AnswerStream(request, generation, projection, keep_alive).response()
        message, timing = await unless_disconnected(request.receive, fold(generation, asked))
        return cast("ASGIApp", json_response(message, timing))  # Litestar takes either

    @post(f"{MESSAGES}/count_tokens", status_code=200, opt={"operation": COUNT_TOKENS})
    async def count_tokens(request: Request[Any, Any, Any]) -> Response[bytes]:
        wanted = await count_body.read(request, ignore_unknown=ignore_unknown)
        check_amounts(wanted, settings)
        prompt = prompt_of(wanted, offer_of(wanted))
        counting = generator.tokens(
            wanted.model, prompt, hold=hold(request), caller=account_of(request)
        )
        tokens = await unless_disconnected(request.receive, counting)
        return json_response(TokensCount(input_tokens=len(tokens)), timing=None)

    return create_message, count_tokens


def _asked(wanted: MessagesRequest) -> Asked:
    match wanted.thinking:
        case ThinkingEnabled(display="omitted") | ThinkingAdaptive(display="omitted"):
            return Asked(wanted.max_tokens, shows_thinking=False)
        case _:
            return Asked(wanted.max_tokens)
