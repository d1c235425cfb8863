"""Refuses requests that can never run: the same rule, in the same words, for every backend."""

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from pilotlight_backend.errors import ContextLengthExceeded, InvalidParameter
from pilotlight_backend.types import (
    BASIC_SAMPLING,
    GenerateRequest,
    SamplingParams,
)

_MAX_INT = 2**31 - 1
_MAX_BREAKER_BYTES = 40
_MAX_LOGPROBS = 100


def check_request(
    request: GenerateRequest,
    *,
    context_length: int,
    vocabulary_size: int,
    sampling: AbstractSet[str] = BASIC_SAMPLING,
) -> None:
    """Raise `InvalidParameter`, or its `ContextLengthExceeded`, for what can never run.

    *sampling* are the fields of `SamplingParams` that the engine honours.
    """
    if not request.prompt:
        raise InvalidParameter("prompt", "the prompt is empty")
    if len(request.prompt) >= context_length:
        raise ContextLengthExceeded(len(request.prompt), context_length)
    if request.max_tokens < 1:
        raise InvalidParameter("max_tokens", f"max_tokens cannot be {request.max_tokens}")
    if not 0 <= request.min_tokens <= request.max_tokens:
        raise InvalidParameter(
            "min_tokens",
            f"min_tokens cannot be {request.min_tokens}, max_tokens is {request.max_tokens}",
        )
    if not 0 <= (request.logprobs or 0) <= _MAX_LOGPROBS:
        raise InvalidParameter("logprobs", f"logprobs cannot be {request.logprobs}")
    for token in (min(request.prompt), max(request.prompt)):
        _check_token("prompt", token, vocabulary_size)
    for token in request.stop_token_ids:
        _check_token("stop_token_ids", token, vocabulary_size)
    _check_sampling(request.sampling, vocabulary_size)
    _check_honoured(request.sampling, sampling)


def check_inputs(
    inputs: Sequence[Sequence[int]], *, context_length: int, vocabulary_size: int
) -> None:
    """Raise `InvalidParameter`, or its `ContextLengthExceeded`, for what cannot be embedded."""
    if not inputs:
        raise InvalidParameter("inputs", "there are no inputs")
    for tokens in inputs:
        if not tokens:
            raise InvalidParameter("inputs", "an input is empty")
        if len(tokens) > context_length:
            raise ContextLengthExceeded(len(tokens), context_length)
        for token in (min(tokens), max(tokens)):
            _check_token("inputs", token, vocabulary_size)


def _check_sampling(params: SamplingParams, vocabulary_size: int) -> None:
    _check("temperature", params.temperature, params.temperature >= 0)
    _check("top_k", params.top_k, 0 <= params.top_k <= _MAX_INT)
    _check("top_p", params.top_p, 0 <= params.top_p <= 1)
    _check("min_p", params.min_p, 0 <= params.min_p <= 1)
    _check("presence_penalty", params.presence_penalty)
    _check("frequency_penalty", params.frequency_penalty)
    _check("repeat_penalty", params.repeat_penalty, params.repeat_penalty > 0)
    _check("repeat_last_n", params.repeat_last_n, -1 <= params.repeat_last_n <= _MAX_INT)
    _check("dynatemp_range", params.dynatemp_range, params.dynatemp_range >= 0)
    _check("dynatemp_exponent", params.dynatemp_exponent, params.dynatemp_exponent >= 0)
    _check("top_n_sigma", params.top_n_sigma)
    _check("typical_p", params.typical_p, 0 <= params.typical_p <= 1)
    _check("xtc_probability", params.xtc_probability, 0 <= params.xtc_probability <= 1)
    _check("xtc_threshold", params.xtc_threshold, 0 <= params.xtc_threshold <= 1)
    _check("mirostat", params.mirostat, params.mirostat in (0, 1, 2))
    _check("mirostat_tau", params.mirostat_tau, params.mirostat_tau >= 0)
    _check("mirostat_eta", params.mirostat_eta, params.mirostat_eta >= 0)
    _check_dry(params)
    for token, bias in params.logit_bias.items():
        _check_token("logit_bias", token, vocabulary_size)
        _check("logit_bias", bias)


def _check_dry(params: SamplingParams) -> None:
    _check("dry_multiplier", params.dry_multiplier, params.dry_multiplier >= 0)
    _check("dry_base", params.dry_base, params.dry_base >= 1)
    _check(
        "dry_allowed_length", params.dry_allowed_length, 0 <= params.dry_allowed_length <= _MAX_INT
    )
    _check(
        "dry_penalty_last_n", params.dry_penalty_last_n, -1 <= params.dry_penalty_last_n <= _MAX_INT
    )
    for breaker in params.dry_sequence_breakers:
        # llama.cpp takes C strings, and cuts them (llama-sampler.cpp, MAX_CHAR_LEN).
        size = len(breaker.encode("utf-8", "replace"))
        if not 0 < size <= _MAX_BREAKER_BYTES or "\0" in breaker:
            raise InvalidParameter(
                "dry_sequence_breakers",
                "dry_sequence_breakers: expected texts of 1 to"
                f" {_MAX_BREAKER_BYTES} bytes without a null character, got {breaker!r}",
            )


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
"""Fields that mean nothing where another one has its neutral value."""


def _check_honoured(params: SamplingParams, sampling: AbstractSet[str]) -> None:
    """Raise for a field that asks for something which the engine does not do."""
    neutral = SamplingParams()
    for name in params.__struct_fields__:
        if name in sampling:
            continue
        stage = _STAGE.get(name, name)
        if all(getattr(params, one) != getattr(neutral, one) for one in (name, stage)):
            raise InvalidParameter(name, f"{name}: this model's backend does not support it")


def _check_token(param: str, token: int, vocabulary_size: int) -> None:
    if not 0 <= token < vocabulary_size:
        raise InvalidParameter(param, f"the vocabulary has no token {token}")


def _check(param: str, value: float, within: bool = True) -> None:  # noqa: FBT001, FBT002
    if not math.isfinite(value) or not within:
        raise InvalidParameter(param, f"{param} cannot be {value}")
