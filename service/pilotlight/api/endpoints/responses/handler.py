"""`POST /v1/responses`."""

from functools import partial

from pilotlight.api.endpoint import Endpoint
from pilotlight.api.endpoints.responses.amounts import amounts
from pilotlight.api.endpoints.responses.operation import OPERATION
from pilotlight.api.endpoints.responses.params import generation_params
from pilotlight.api.endpoints.responses.projection import ResponseProjection, fold
from pilotlight.api.serving import GenerationPlan, generation_handler
from pilotlight.config import Settings
from pilotlight.generation import Generator
from pilotlight.schema.responses.request import ResponseRequest


def responses_handler(generator: Generator, settings: Settings) -> Endpoint:
    """Return the endpoint."""

    def plan(asked: ResponseRequest) -> GenerationPlan:
        return GenerationPlan(
            generation_params(asked, max_tokens=settings.default_max_tokens),
            partial(fold, asked=asked),
            ResponseProjection(asked) if asked.stream else None,
        )

    return generation_handler(
        "/v1/responses",
        OPERATION,
        ResponseRequest,
        plan,
        amounts,
        generator=generator,
        settings=settings,
    )
