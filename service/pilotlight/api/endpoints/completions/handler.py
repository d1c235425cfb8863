"""`POST /v1/completions`."""

from functools import partial

from pilotlight.api.endpoint import Endpoint
from pilotlight.api.endpoints.completions.amounts import amounts
from pilotlight.api.endpoints.completions.operation import OPERATION
from pilotlight.api.endpoints.completions.params import generation_params
from pilotlight.api.endpoints.completions.projection import CompletionChunks, fold
from pilotlight.api.endpoints.openai import ChunkProjection, usage_shown
from pilotlight.api.serving import GenerationPlan, generation_handler
from pilotlight.config import Settings
from pilotlight.generation import Generator
from pilotlight.schema.completions import CompletionRequest


def completions_handler(generator: Generator, settings: Settings) -> Endpoint:
    """Return the endpoint."""
    return generation_handler(
        "/v1/completions",
        OPERATION,
        CompletionRequest,
        _plan,
        amounts,
        generator=generator,
        settings=settings,
    )


def _plan(asked: CompletionRequest) -> GenerationPlan:
    params = generation_params(asked)
    prompts, n, logprobs = len(params.prompts), asked.n or 1, asked.logprobs is not None
    chunks = CompletionChunks(
        asked.model, prompts=prompts, n=n, include_usage=usage_shown(asked), logprobs=logprobs
    )
    return GenerationPlan(
        params,
        partial(fold, prompts=prompts, n=n, best_of=params.n, logprobs=logprobs),
        ChunkProjection(asked, chunks) if asked.stream else None,
    )
