"""Translates errors of an engine to errors of the request. Pure."""

from collections.abc import Sequence

from pilotlight.errors import ContextLengthExceeded, InferenceError, InvalidRequest, ServiceError
from pilotlight.generation.params import GenerationParams, Prompt
from pilotlight_backend import (
    BackendError,
    GenerateRequest,
    InvalidParameter,
    ModelFacts,
    SamplingParams,
)
from pilotlight_backend import ContextLengthExceeded as PromptTooLong
from pilotlight_backend.validation import check_request

_REQUEST_FIELDS = frozenset(
    {
        "ignore_eos",
        "logprobs",
        "max_tokens",
        "min_tokens",
        "stop_token_ids",
        *SamplingParams.__struct_fields__,
    }
)
"""Fields of the contract with the same name in a request."""

_ANY_VOCABULARY = 2**31
"""For backends that do not know the vocabulary's size before they load it."""


def request_error(error: BackendError, prompt: Prompt) -> ServiceError | BackendError:
    """Return the request's error for an engine's refusal of *prompt*.

    A failure of the engine itself stays as it is: `ModelLeases` maps it, and knows of shutdowns.
    """
    match error:
        case PromptTooLong():
            return ContextLengthExceeded(
                f"the prompt has {error.prompt_tokens} tokens; this model's context length is"
                f" {error.context_length} tokens, prompt and completion together",
                param=prompt.param,
            )
        case InvalidParameter():
            return InvalidRequest(str(error), param=param_of(error.param, prompt))
        case _:
            return error


def check_requests(
    facts: ModelFacts,
    params: GenerationParams,
    requests: Sequence[GenerateRequest],
    lengths: Sequence[int],
) -> None:
    """Raise the error that an engine would refuse *requests* with.

    *lengths* are the tokens of their prompts, those of images included.
    """
    for number, (request, length) in enumerate(zip(requests, lengths, strict=True)):
        try:
            if length >= facts.context_length:
                raise PromptTooLong(length, facts.context_length)
            check_request(
                request,
                image_tokens=(lambda _: 0) if facts.sees else None,
                context_length=facts.context_length,
                vocabulary_size=facts.vocabulary_size or _ANY_VOCABULARY,
                adapters=None,
            )
        except InvalidParameter as error:
            raise request_error(error, params.prompts[number // params.n]) from error


def generation_error(error: BackendError, prompt: Prompt) -> ServiceError | BackendError:
    """Return the request's error for a choice that failed.

    An engine in another process refuses a request by an event, after it was submitted.
    """
    if isinstance(error, InvalidParameter):
        return request_error(error, prompt)
    return InferenceError(str(error))


def param_of(name: str, prompt: Prompt) -> str | None:
    """Return the request's name of the contract's field *name*, or None.

    *name* may be a path in the contract's request: `sampling.top_k`.
    """
    field = name.rpartition(".")[2]
    if field == "prompt":
        return prompt.param
    return field if field in _REQUEST_FIELDS else None
