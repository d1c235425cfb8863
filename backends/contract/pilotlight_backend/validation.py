"""Refuses requests that can never run: the same rule, in the same words, for every backend."""

import math
from collections.abc import Callable, Container, Mapping, Sequence
from collections.abc import Set as AbstractSet

from pilotlight_backend.adapters import LARGEST_SCALE, MOST_ADAPTERS, Adapter
from pilotlight_backend.errors import ContextLengthExceeded, InvalidParameter
from pilotlight_backend.image import Image
from pilotlight_backend.types import (
    BASIC_SAMPLING,
    GenerateRequest,
    PromptPart,
    SamplingParams,
)

_MAX_INT = 2**31 - 1
_MAX_BREAKER_BYTES = 40
_MAX_LOGPROBS = 100
_ABOVE_0 = math.ulp(0.0)

_BOUNDS: Mapping[str, tuple[float, float]] = {
    "temperature": (0, math.inf),
    "dynatemp_range": (0, math.inf),
    "dynatemp_exponent": (0, math.inf),
    "top_k": (0, _MAX_INT),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "top_n_sigma": (-math.inf, math.inf),
    "typical_p": (0, 1),
    "xtc_probability": (0, 1),
    "xtc_threshold": (0, 1),
    "presence_penalty": (-math.inf, math.inf),
    "frequency_penalty": (-math.inf, math.inf),
    "repeat_penalty": (_ABOVE_0, math.inf),
    "repeat_last_n": (-1, _MAX_INT),
    "dry_multiplier": (0, math.inf),
    "dry_base": (1, math.inf),
    "dry_allowed_length": (0, _MAX_INT),
    "dry_penalty_last_n": (-1, _MAX_INT),
    "mirostat": (0, 2),
    "mirostat_tau": (0, math.inf),
    "mirostat_eta": (0, math.inf),
}
"""The least and the largest value of each number in `SamplingParams`; all of them are finite."""

NO_IMAGES = "this model takes no images: it reads text only"

_STAGE = {
    "dynatemp_exponent": "dynatemp_range",
    "xtc_threshold": "xtc_probability",
    "mirostat_tau": "mirostat",
    "mirostat_eta": "mirostat",
    "dry_base": "dry_multiplier",
    "dry_allowed_length": "dry_multiplier",
    "dry_penalty_last_n": "dry_multiplier",
    "dry_sequence_breakers": "dry_multiplier",
}
"""Fields that have no effect while another field has its neutral value."""


def check_request(
    request: GenerateRequest,
    *,
    context_length: int,
    vocabulary_size: int,
    sampling: AbstractSet[str] = BASIC_SAMPLING,
    image_tokens: Callable[[Image], int] | None = None,
    adapters: Container[str] | None = (),
) -> None:
    """Raise `InvalidParameter`, or its `ContextLengthExceeded`, for a request that can never run.

    *sampling* is the set of `SamplingParams` fields that the engine honours. *image_tokens* returns
    how many tokens an image takes; None for a model that takes no images. *adapters* are the ids of
    those that the engine has loaded, None where that is not known here.
    """
    if not request.prompt:
        raise InvalidParameter("prompt", "the prompt is empty")
    tokens = token_ids(request.prompt)
    length = len(tokens)
    if length < len(request.prompt):
        if image_tokens is None:
            raise InvalidParameter("prompt", NO_IMAGES)
        length += sum(image_tokens(part) for part in request.prompt if isinstance(part, Image))
    if length >= context_length:
        raise ContextLengthExceeded(length, context_length)
    _check_number("max_tokens", request.max_tokens, 1, math.inf)
    _check_number("min_tokens", request.min_tokens, 0, request.max_tokens)
    _check_number("logprobs", request.logprobs or 0, 0, _MAX_LOGPROBS)
    for token in (min(tokens), max(tokens)) if tokens else ():
        _check_token("prompt", token, vocabulary_size)
    for token in request.stop_token_ids:
        _check_token("stop_token_ids", token, vocabulary_size)
    _check_sampling(request.sampling, vocabulary_size)
    _check_honoured(request.sampling, sampling)
    if request.adapters:
        _check_adapters(request.adapters, adapters)


def token_ids(prompt: Sequence[PromptPart]) -> Sequence[int]:
    """Return the token ids in *prompt*, without its images."""
    # Most prompts have no image: a search in C is quicker than to build the list anew.
    if Image not in map(type, prompt):
        return prompt  # type: ignore[return-value]
    return [part for part in prompt if isinstance(part, int)]


def check_inputs(
    inputs: Sequence[Sequence[int]], *, context_length: int, vocabulary_size: int
) -> None:
    """Raise `InvalidParameter`, or its `ContextLengthExceeded`, for inputs that cannot run."""
    if not inputs:
        raise InvalidParameter("inputs", "inputs: expected at least one input")
    for index, tokens in enumerate(inputs):
        if not tokens:
            raise InvalidParameter("inputs", f"inputs[{index}]: the input is empty")
        if len(tokens) > context_length:
            raise ContextLengthExceeded(len(tokens), context_length)
        for token in (min(tokens), max(tokens)):
            _check_token("inputs", token, vocabulary_size)


def _check_sampling(params: SamplingParams, vocabulary_size: int) -> None:
    for name, (least, most) in _BOUNDS.items():
        _check_number(name, getattr(params, name), least, most)
    for token, bias in params.logit_bias.items():
        _check_token("logit_bias", token, vocabulary_size)
        _check_number("logit_bias", bias, -math.inf, math.inf)
    for breaker in params.dry_sequence_breakers:
        # llama.cpp takes C strings, and truncates them (llama-sampler.cpp, MAX_CHAR_LEN).
        size = len(breaker.encode("utf-8", "replace"))
        if not 0 < size <= _MAX_BREAKER_BYTES or "\0" in breaker:
            raise InvalidParameter(
                "dry_sequence_breakers",
                "dry_sequence_breakers: expected texts of 1 to"
                f" {_MAX_BREAKER_BYTES} bytes without a null character, got {breaker!r}",
            )


def _check_honoured(params: SamplingParams, sampling: AbstractSet[str]) -> None:
    """Raise for a field that the engine does not honour and that would have an effect."""
    neutral = SamplingParams()
    for name in params.__struct_fields__:
        if name in sampling:
            continue
        stage = _STAGE.get(name, name)
        if all(getattr(params, one) != getattr(neutral, one) for one in (name, stage)):
            raise InvalidParameter(name, f"{name}: this model's backend does not support it")


def _check_adapters(wanted: Sequence[Adapter], loaded: Container[str] | None) -> None:
    if len(wanted) > MOST_ADAPTERS:
        raise InvalidParameter(
            "adapters", f"adapters: expected at most {MOST_ADAPTERS}, got {len(wanted)}"
        )
    for index, one in enumerate(wanted):
        if loaded is not None and one.id not in loaded:
            raise InvalidParameter("adapters", f"adapters[{index}]: the engine has no such adapter")
        if any(one.id == other.id for other in wanted[:index]):
            raise InvalidParameter("adapters", f"adapters[{index}]: it is given twice")
        _check_number("adapters", one.scale, -LARGEST_SCALE, LARGEST_SCALE)


def _check_token(param: str, token: int, vocabulary_size: int) -> None:
    if not 0 <= token < vocabulary_size:
        raise InvalidParameter(param, f"{param}: the vocabulary has no token {token}")


def _check_number(param: str, value: float, least: float, most: float) -> None:
    if not (least <= value <= most and -math.inf < value < math.inf):  # false for NaN too
        raise InvalidParameter(param, f"{param}: expected {_range(least, most)}, got {value}")


def _range(least: float, most: float) -> str:
    if least == _ABOVE_0:
        return "a number greater than 0"
    if math.isfinite(most):
        return f"a number from {least} to {most}"
    return f"a number of at least {least}" if math.isfinite(least) else "a finite number"
