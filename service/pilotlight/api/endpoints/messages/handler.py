"""`POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's API."""

from collections.abc import Sequence
from functools import partial

from pilotlight.api.endpoint import Endpoint, endpoint
from pilotlight.api.endpoints.messages.amounts import amounts
from pilotlight.api.endpoints.messages.operation import COUNT_TOKENS, CREATE
from pilotlight.api.endpoints.messages.params import generation_params, prompt_of
from pilotlight.api.endpoints.messages.projection import MessageOptions, fold
from pilotlight.api.endpoints.messages.stream import MessagesProjection
from pilotlight.api.endpoints.messages.tools import offer_of
from pilotlight.api.http.auth import account_of
from pilotlight.api.http.disconnect import unless_disconnected
from pilotlight.api.http.error_bodies import MESSAGES
from pilotlight.api.http.request import Request
from pilotlight.api.http.response import Response
from pilotlight.api.http.whole_response import json_response
from pilotlight.api.serving import GenerationPlan, RequestReader, generation_handler, hold_for
from pilotlight.config import Settings
from pilotlight.generation import Generator
from pilotlight.schema.messages.request import (
    CountTokensRequest,
    MessagesRequest,
    ThinkingAdaptive,
    ThinkingEnabled,
)
from pilotlight.schema.messages.response import TokensCount


def messages_handlers(generator: Generator, settings: Settings) -> Sequence[Endpoint]:
    """Return the two endpoints."""
    reader = RequestReader(CountTokensRequest, settings, amounts)

    @endpoint(f"{MESSAGES}/count_tokens", COUNT_TOKENS)
    async def count_tokens(request: Request) -> Response:
        asked = await reader.read(request)
        counting = generator.tokens(
            asked.model,
            prompt_of(asked, offer_of(asked)),
            hold=hold_for(request.headers, settings),
            caller=account_of(request.scope),
        )
        tokens = await unless_disconnected(request.receive, counting)
        return json_response(TokensCount(input_tokens=tokens))

    create_message = generation_handler(
        MESSAGES, CREATE, MessagesRequest, _plan, amounts, generator=generator, settings=settings
    )
    return create_message, count_tokens


def _plan(asked: MessagesRequest) -> GenerationPlan:
    options = _options(asked)
    return GenerationPlan(
        generation_params(asked),
        partial(fold, options=options),
        MessagesProjection(options) if asked.stream else None,
    )


def _options(asked: MessagesRequest) -> MessageOptions:
    match asked.thinking:
        case ThinkingEnabled(display="omitted") | ThinkingAdaptive(display="omitted"):
            return MessageOptions(asked.max_tokens, shows_thinking=False)
        case _:
            return MessageOptions(asked.max_tokens)
