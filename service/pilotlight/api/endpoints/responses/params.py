"""A request for a response as parameters of a generation."""

from pilotlight.api.endpoints.responses.conversation import NO_TURNS, conversation_of
from pilotlight.api.endpoints.responses.tools import offer_of
from pilotlight.api.params.reasoning import thinking_budget
from pilotlight.api.params.sampling import sampling_of
from pilotlight.errors import InvalidRequest, PreviousResponseNotFound
from pilotlight.generation import ChatPrompt, GenerationParams, StructuredOutput
from pilotlight.guidance import JsonObject, JsonSchema
from pilotlight.schema.responses.request import (
    ResponseJsonObjectFormat,
    ResponseJsonSchemaFormat,
    ResponseRequest,
)


def generation_params(asked: ResponseRequest, *, max_tokens: int) -> GenerationParams:
    """Return the parameters of *asked*, with defaults for omitted fields; one is *max_tokens*."""
    _check(asked)
    offer = offer_of(asked)
    return GenerationParams(
        model=asked.model,
        prompts=(ChatPrompt(conversation_of(asked, offer.tools), "input"),),
        max_tokens=asked.max_output_tokens or max_tokens,
        sampling=sampling_of(asked),
        logprobs=_logprobs(asked),
        structured_output=_structured_output(asked),
        thinking_budget=thinking_budget(_effort(asked)),
        tool_calling=offer.tool_calling,
        cache_salt=asked.cache_salt,
    )


def _check(asked: ResponseRequest) -> None:
    """Raise for fields that need stored responses, and for an empty input."""
    if asked.input and all(isinstance(item, NO_TURNS) for item in asked.input):
        raise InvalidRequest("input: expected at least one message, call or result", param="input")
    if asked.previous_response_id is not None:
        param = "previous_response_id"
        # OpenAI's code for a response that is not stored any more.
        raise PreviousResponseNotFound(
            f"{param}: no response is stored; send the whole conversation as input", param=param
        )
    if asked.background:
        raise InvalidRequest(
            "background: expected false; no response is stored, so a client has to wait for it",
            param="background",
        )


def _logprobs(asked: ResponseRequest) -> int | None:
    wanted = "message.output_text.logprobs" in (asked.include or ())
    return (asked.top_logprobs or 0) if wanted else None


def _structured_output(asked: ResponseRequest) -> StructuredOutput | None:
    match asked.text.format if asked.text else None:
        case ResponseJsonObjectFormat():
            return StructuredOutput(JsonObject(), "text.format")
        case ResponseJsonSchemaFormat(schema=schema, strict=strict):
            return StructuredOutput(JsonSchema(schema, strict=bool(strict)), "text.format.schema")
        case _:
            return None


def _effort(asked: ResponseRequest) -> str | None:
    return asked.reasoning.effort if asked.reasoning else None
