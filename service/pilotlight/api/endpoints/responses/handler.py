"""`POST /v1/responses`: from the request to a generation, and its answer as bytes."""

from typing import Any, cast

from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from pilotlight.api.endpoints.responses.conversation import NO_TURNS, conversation_of
from pilotlight.api.endpoints.responses.operation import OPERATION
from pilotlight.api.endpoints.responses.projection import ResponseProjection, fold
from pilotlight.api.endpoints.responses.tools import offer_of
from pilotlight.api.http import sse
from pilotlight.api.http.auth import account_of
from pilotlight.api.http.bodies import Body
from pilotlight.api.http.disconnect import unless_disconnected
from pilotlight.api.http.keep_alive import KeepAlive
from pilotlight.api.http.stream import AnswerStream
from pilotlight.api.http.whole_response import json_response
from pilotlight.api.params.amounts import check_amounts
from pilotlight.api.params.hold import hold_of
from pilotlight.api.params.response_format import BUDGETS
from pilotlight.api.params.sampling import sampling_of
from pilotlight.config import Settings
from pilotlight.errors import InvalidRequest, PreviousResponseNotFound
from pilotlight.generation import ChatPrompt, Form, GenerationParams, Generator
from pilotlight.guidance import JsonObject, JsonSchema
from pilotlight.schema.responses.request import (
    ResponseJsonObjectFormat,
    ResponseJsonSchemaFormat,
    ResponseRequest,
)


def responses_handler(generator: Generator, settings: Settings) -> HTTPRouteHandler:
    """Return the endpoint."""
    body = Body(ResponseRequest)
    ignore_unknown = settings.unknown_fields == "ignore"

    @post("/v1/responses", status_code=200, opt={"operation": OPERATION})
    async def responses(request: Request[Any, Any, Any]) -> ASGIApp:
        asked = await body.read(request, ignore_unknown=ignore_unknown)
        check_amounts(asked, settings)
        hold = hold_of(
            request.headers, default=settings.hold, to_the_end=settings.platform == "cloud_run"
        )
        generation = generator.generate(
            generation_params(asked, max_tokens=settings.default_max_tokens),
            hold=hold,
            caller=account_of(request),
            announces=bool(asked.stream and settings.sse_ping_interval),
        )
        if asked.stream:
            projection = ResponseProjection(asked)
            keep_alive = KeepAlive(sse.PING, settings.sse_ping_interval)
            return await AnswerStream(request, generation, projection, keep_alive).response()
        answer, timing = await unless_disconnected(request.receive, fold(generation, asked))
        return cast("ASGIApp", json_response(answer, timing))  # Litestar takes either

    return responses


def generation_params(asked: ResponseRequest, *, max_tokens: int) -> GenerationParams:
    """Return what *asked* means, with the defaults for what it leaves out; one is *max_tokens*."""
    _check(asked)
    offer = offer_of(asked)
    return GenerationParams(
        model=asked.model,
        prompts=(ChatPrompt(conversation_of(asked, offer.tools), "input"),),
        max_tokens=asked.max_output_tokens or max_tokens,
        sampling=sampling_of(asked),
        logprobs=_logprobs(asked),
        form=_form(asked),
        thinking_budget=BUDGETS.get(_effort(asked) or ""),
        calls=offer.calls,
    )


def _check(asked: ResponseRequest) -> None:
    """Raise `InvalidRequest` for what would need responses that are stored, or says nothing."""
    if asked.input and all(isinstance(item, NO_TURNS) for item in asked.input):
        raise InvalidRequest("input: none of the items is a message", param="input")
    if asked.previous_response_id is not None:
        param = "previous_response_id"
        # OpenAI's code for a response that is not stored any more.
        raise PreviousResponseNotFound(
            f"{param}: no response is stored; send the whole conversation as input", param=param
        )
    if asked.background:
        raise InvalidRequest(
            "background: no response is stored, so each is answered while the client waits; leave"
            " it out",
            param="background",
        )


def _logprobs(asked: ResponseRequest) -> int | None:
    told = "message.output_text.logprobs" in (asked.include or ())
    return (asked.top_logprobs or 0) if told else None


def _form(asked: ResponseRequest) -> Form | None:
    match asked.text.format if asked.text else None:
        case ResponseJsonObjectFormat():
            return Form(JsonObject(), "text.format")
        case ResponseJsonSchemaFormat(schema=schema, strict=strict):
            return Form(JsonSchema(schema, strict=bool(strict)), "text.format.schema")
        case _:
            return None


def _effort(asked: ResponseRequest) -> str | None:
    return asked.reasoning.effort if asked.reasoning else None
