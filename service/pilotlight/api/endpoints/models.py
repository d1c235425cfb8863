"""`GET /v1/models` and `/v1/models/{id}`."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec
from litestar import MediaType, Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from pilotlight.api.endpoints.anthropic_models import anthropic_model, model_page, page_of
from pilotlight.api.http.error_bodies import asks_as_anthropic
from pilotlight.api.http.handlers import get
from pilotlight.api.openapi.operation import Content, Operation, Parameter, SuccessResponse
from pilotlight.errors import InvalidRequest, ModelLoadFailed, ModelNotFound
from pilotlight.models.catalog import ModelEntry
from pilotlight.models.listing import ListedModel
from pilotlight.models.pool import Pool
from pilotlight.models.resolver import Resolver
from pilotlight.schema.models import Capability, Modality, Model, ModelList
from pilotlight_backend import ModelFacts

_encoder = msgspec.json.Encoder()

_EXAMPLE = {
    "id": "spark",
    "object": "model",
    "created": 1767225600,
    "owned_by": "pilotlight",
    "state": "ready",
    "backend": "llama_cpp",
    "context_length": 1024,
    "capabilities": ["completion"],
    "input_modalities": ["text"],
    "parent": None,
    "root": "spark.gguf",
    "error": None,
}

LIST = Operation(
    id="listModels",
    tag="models",
    summary="List models",
    description=(
        "All models: configured, discovered, embedded. With the header `anthropic-version` the"
        " response has the shape of Anthropic's API."
    ),
    responses={
        200: SuccessResponse(
            description="The models.",
            content=[
                Content(
                    type=ModelList,
                    examples={"spark": {"object": "list", "data": [_EXAMPLE]}},
                )
            ],
        )
    },
)

RETRIEVE = Operation(
    id="retrieveModel",
    tag="models",
    summary="Retrieve a model",
    parameters=[
        Parameter(
            name="model",
            place="path",
            description="A model's name, as in requests.",
            schema={"type": "string", "minLength": 1},
            required=True,
            example="spark",
        )
    ],
    responses={
        200: SuccessResponse(
            description="The model.",
            content=[Content(type=Model, examples={"spark": _EXAMPLE})],
        )
    },
    errors=[InvalidRequest, ModelNotFound, ModelLoadFailed],
)


Describe: TypeAlias = Callable[[Sequence[ModelEntry]], Sequence[ListedModel]]


def models_handlers(
    resolver: Resolver,
    describe: Callable[[Sequence[ModelEntry]], Sequence[ListedModel]],
    pool: Pool,
) -> Sequence[HTTPRouteHandler]:
    """Return the two endpoints."""

    async def models(entries: Sequence[ModelEntry]) -> list[Model]:
        listed = await asyncio.to_thread(describe, entries)
        return [_model(model, pool) for model in listed]

    @get("/v1/models", opt={"operation": LIST})
    async def list_models(request: Request[Any, Any, Any]) -> Response[bytes]:
        if not asks_as_anthropic(request.headers):
            return _json(ModelList(data=await models(await resolver.entries())))
        page = page_of(request.query_params)
        return _json(model_page(await models(await resolver.entries()), page))

    # `:path`, because names can have slashes: org/name.
    @get("/v1/models/{model:path}", opt={"operation": RETRIEVE})
    async def retrieve_model(
        request: Request[Any, Any, Any], model: FromPath[str]
    ) -> Response[bytes]:
        name = model.removeprefix("/")
        if not name.strip():
            raise InvalidRequest("model: expected a name that is not blank", param="model")
        entry = await resolver.resolve(name)
        (found,) = await models([entry])
        return _json(anthropic_model(found) if asks_as_anthropic(request.headers) else found)

    return list_models, retrieve_model


def _model(listed: ListedModel, pool: Pool) -> Model:
    state = pool.status(listed.entry).state
    # A loaded model is served on, even if its file is gone or damaged since.
    trouble = listed.trouble if state in ("absent", "failed") else None
    return Model(
        id=listed.entry.name,
        created=listed.created,
        owned_by="pilotlight",
        state=trouble or state,
        backend=listed.backend,
        context_length=listed.facts.context_length if listed.facts else None,
        capabilities=_capabilities(listed.facts),
        input_modalities=_modalities(listed.facts),
        parent=listed.entry.base.name if listed.entry.adapter else None,
        root=listed.entry.path.name,
        error=listed.error,
    )


def _capabilities(facts: ModelFacts | None) -> list[Capability]:
    if facts is None:
        return []
    if facts.embeds:
        return ["embedding"]
    return ["rerank"] if facts.ranks else ["completion"]


def _modalities(facts: ModelFacts | None) -> list[Modality]:
    return [] if facts is None else list(facts.input_modalities)


def _json(body: Any) -> Response[bytes]:
    return Response(_encoder.encode(body), media_type=MediaType.JSON)
