"""`POST /v1/chat/completions`: from the request to a generation, and its answer as bytes."""

from typing import Any, cast

from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from pilotlight.api.endpoints.chat.conversation import chat_conversation
from pilotlight.api.endpoints.chat.operation import OPERATION
from pilotlight.api.endpoints.chat.projection import Chunks, fold
from pilotlight.api.endpoints.chat.tools import offer_of
from pilotlight.api.http.auth import account_of
from pilotlight.api.http.bodies import Body
from pilotlight.api.http.chunks import ChunkProjection, loading_shown, usage_shown
from pilotlight.api.http.disconnect import unless_disconnected
from pilotlight.api.http.stream import AnswerStream
from pilotlight.api.http.whole_response import json_response
from pilotlight.api.params.amounts import check_amounts
from pilotlight.api.params.hold import hold_of
from pilotlight.api.params.response_format import BUDGETS, form_of
from pilotlight.api.params.sampling import sampling_of, stops_of
from pilotlight.config import Settings
from pilotlight.errors import InvalidRequest
from pilotlight.generation import ChatPrompt, GenerationParams, Generator
from pilotlight.schema.chat.request import ChatCompletionRequest


def chat_handler(path: str, generator: Generator, settings: Settings) -> HTTPRouteHandler:
    """Return the endpoint, served at *path*."""
    body = Body(ChatCompletionRequest)
    ignore_unknown = settings.unknown_fields == "ignore"

    @post(path, status_code=200, opt={"operation": OPERATION})
    async def chat_completions(request: Request[Any, Any, Any]) -> ASGIApp:
        asked = await body.read(request, ignore_unknown=ignore_unknown)
        check_amounts(asked, settings)
        hold = hold_of(
            request.headers,
            default=settings.hold,
            to_the_end=settings.platform == "cloud_run",
            shows_loading=bool(asked.stream and loading_shown(asked)),
        )
        generation = generator.generate(
            generation_params(asked, max_tokens=settings.default_max_tokens),
            hold=hold,
            caller=account_of(request),
            announces=bool(asked.stream and settings.sse_ping_interval),
        )
        if not asked.stream:
            answer, timing = await unless_disconnected(
                request.receive, fold(generation, n=asked.n or 1, logprobs=bool(asked.logprobs))
            )
            return cast("ASGIApp", json_response(answer, timing))  # Litestar takes either
        projection = ChunkProjection(asked, _chunks(asked))
        keep_alive = projection.keep_alive(generator, settings.sse_ping_interval)
        return await AnswerStream(request, generation, projection, keep_alive).response()

    return chat_completions


def generation_params(asked: ChatCompletionRequest, *, max_tokens: int) -> GenerationParams:
    """Return what *asked* means, with the defaults for what it leaves out; one is *max_tokens*."""
    if asked.top_logprobs and not asked.logprobs:
        raise InvalidRequest("top_logprobs: needs logprobs to be true", param="top_logprobs")
    offer = offer_of(asked)
    conversation = chat_conversation(
        asked.messages,
        offer.tools,
        template_kwargs=asked.chat_template_kwargs,
        effort=asked.reasoning_effort,
        continues=asked.continue_final_message,
        begins=asked.add_generation_prompt,
    )
    return GenerationParams(
        model=asked.model,
        prompts=(ChatPrompt(conversation),),
        n=asked.n or 1,
        max_tokens=asked.max_completion_tokens or asked.max_tokens or max_tokens,
        sampling=sampling_of(asked),
        stops=stops_of(asked),
        stop_token_ids=frozenset(asked.stop_token_ids or ()),
        ignore_eos=bool(asked.ignore_eos),
        min_tokens=asked.min_tokens or 0,
        logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
        form=form_of(asked),
        thinking_budget=BUDGETS.get(asked.reasoning_effort or ""),
        calls=offer.calls,
    )


def _chunks(asked: ChatCompletionRequest) -> Chunks:
    return Chunks(
        asked.model,
        n=asked.n or 1,
        include_usage=usage_shown(asked),
        logprobs=bool(asked.logprobs),
    )
