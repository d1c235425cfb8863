"""What every backend refuses alike: requests that can never run, models that cannot fit."""

import logging
import math
from collections.abc import Sequence

from pilotlight_backend import cgroup
from pilotlight_backend.errors import ContextLengthExceeded, InsufficientMemory, InvalidParameter
from pilotlight_backend.types import GenerateRequest, LoadOptions, ModelFacts, SamplingParams

logger = logging.getLogger("pilotlight.backend")

DEFAULT_CONTEXT_LENGTH = 4096
_MAX_TOP_K = 2**31 - 1
_MAX_LOGPROBS = 100


def context_length(facts: ModelFacts, options: LoadOptions) -> int:
    """Return the context length in force: as asked for, else as trained and at most 4096.

    A model that embeds may have a vector for each position, and beyond what was trained none.
    """
    if options.context_length is None:
        return min(facts.context_length, DEFAULT_CONTEXT_LENGTH)
    if options.context_length > facts.context_length:
        logger.warning(
            "%s was trained with a context of %d tokens, %d were asked for",
            facts.path.name,
            facts.context_length,
            options.context_length,
        )
        if facts.embeds:
            return facts.context_length
    return options.context_length


def check_memory(facts: ModelFacts, options: LoadOptions) -> None:
    """Raise `InsufficientMemory` where weights and KV cache cannot fit.

    Without it the kernel would end the whole process. *facts* hold the context length in force.
    """
    available = cgroup.available_memory()
    if available is None or options.gpu_layers:
        return
    # A model that embeds forgets an input once it is embedded: one cache serves all.
    cells = facts.context_length * (1 if facts.embeds else options.parallel)
    required = facts.size_bytes + facts.kv_bytes_per_token * cells
    if required > available:
        raise InsufficientMemory(required, available)


def check_request(request: GenerateRequest, *, context_length: int, vocabulary_size: int) -> None:
    """Raise `InvalidParameter`, or its `ContextLengthExceeded`, for what can never run."""
    if not request.prompt:
        raise InvalidParameter("prompt", "the prompt is empty")
    if len(request.prompt) >= context_length:
        raise ContextLengthExceeded(len(request.prompt), context_length)
    if request.max_tokens < 1:
        raise InvalidParameter("max_tokens", f"max_tokens cannot be {request.max_tokens}")
    if not 0 <= (request.logprobs or 0) <= _MAX_LOGPROBS:
        raise InvalidParameter("logprobs", f"logprobs cannot be {request.logprobs}")
    for token in (min(request.prompt), max(request.prompt)):
        _check_token("prompt", token, vocabulary_size)
    for token in request.stop_token_ids:
        _check_token("stop_token_ids", token, vocabulary_size)
    _check_sampling(request.sampling, vocabulary_size)


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
    _check("top_k", params.top_k, 0 <= params.top_k <= _MAX_TOP_K)
    _check("top_p", params.top_p, 0 <= params.top_p <= 1)
    _check("min_p", params.min_p, 0 <= params.min_p <= 1)
    _check("presence_penalty", params.presence_penalty)
    _check("frequency_penalty", params.frequency_penalty)
    _check("repeat_penalty", params.repeat_penalty, params.repeat_penalty > 0)
    for token, bias in params.logit_bias.items():
        _check_token("logit_bias", token, vocabulary_size)
        _check("logit_bias", bias)


def _check_token(param: str, token: int, vocabulary_size: int) -> None:
    if not 0 <= token < vocabulary_size:
        raise InvalidParameter(param, f"the vocabulary has no token {token}")


def _check(param: str, value: float, within: bool = True) -> None:  # noqa: FBT001, FBT002
    if not math.isfinite(value) or not within:
        raise InvalidParameter(param, f"{param} cannot be {value}")
