"""`POST /v1/chat/completions`."""

from functools import partial

from pilotlight.api.endpoint import Endpoint
from pilotlight.api.endpoints.chat.amounts import amounts
from pilotlight.api.endpoints.chat.operation import OPERATION
from pilotlight.api.endpoints.chat.params import generation_params
from pilotlight.api.endpoints.chat.projection import ChatChunks, fold
from pilotlight.api.endpoints.openai import ChunkProjection, usage_shown
from pilotlight.api.serving import GenerationPlan, generation_handler
from pilotlight.config import Settings
from pilotlight.generation import Generator
from pilotlight.schema.chat.request import ChatCompletionRequest


def chat_handler(path: str, generator: Generator, settings: Settings) -> Endpoint:
    """Return the endpoint, served at *path*."""

    def plan(asked: ChatCompletionRequest) -> GenerationPlan:
        return GenerationPlan(
            generation_params(asked, max_tokens=settings.default_max_tokens),
            partial(fold, n=asked.n or 1, logprobs=bool(asked.logprobs)),
            ChunkProjection(asked, _chunks(asked)) if asked.stream else None,
        )

    return generation_handler(
        path,
        OPERATION,
        ChatCompletionRequest,
        plan,
        amounts,
        generator=generator,
        settings=settings,
    )


def _chunks(asked: ChatCompletionRequest) -> ChatChunks:
    return ChatChunks(
        asked.model,
        n=asked.n or 1,
        include_usage=usage_shown(asked),
        logprobs=bool(asked.logprobs),
    )
