"""Why an engine takes or ends a request, in the request's words. Pure."""

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
"""The contract's fields that a request calls the same."""


_ANY_VOCABULARY = 2**31
"""Where a backend does not know the vocabulary's size before it has it."""


def refusal(error: BackendError, prompt: Prompt) -> ServiceError | BackendError:
    """Return in a request's words why the engine does not take *prompt*.

    A failure of the engine itself stays as it is: `ModelLeases` maps it, and knows of shutdowns.
    """
    match error:
        case PromptTooLong():
            return ContextLengthExceeded(
                f"the prompt comes to {error.prompt_tokens} tokens; this model's context is"
                f" {error.context_length} tokens, prompt and answer together",
                param=prompt.param,
            )
        case InvalidParameter():
            return InvalidRequest(str(error), param=param_of(error.param, prompt))
        case _:
            return error


def check_requests(
    facts: ModelFacts, params: GenerationParams, requests: Sequence[GenerateRequest]
) -> None:
    """Raise what engines would refuse *requests* for, before they get them."""
    for number, request in enumerate(requests):
        try:
            check_request(
                request,
                context_length=facts.context_length,
                vocabulary_size=facts.vocabulary_size or _ANY_VOCABULARY,
            )
        except InvalidParameter as error:
            raise refusal(error, params.prompts[number // params.n]) from error


def failure(error: BackendError, prompt: Prompt) -> ServiceError | BackendError:
    """Return why an answer to *prompt* ended too early.

    An engine in another process refuses a request when it has been taken there: by an event.
    """
    if isinstance(error, InvalidParameter):
        return refusal(error, prompt)
    return InferenceError(str(error))


def param_of(name: str, prompt: Prompt) -> str | None:
    """Return what the contract's field *name* is called in a request; None where it is not there.

    A backend may say where in the contract's request the field is: `sampling.top_k`.
    """
    field = name.rpartition(".")[2]
    if field == "prompt":
        return prompt.param
    return field if field in _REQUEST_FIELDS else None
