"""`POST /v1/embeddings`: from the request to its vectors."""

import base64
import struct
from array import array

from pilotlight.api.endpoint import Endpoint, endpoint
from pilotlight.api.endpoints.embeddings.operation import OPERATION
from pilotlight.api.http.auth import account_of
from pilotlight.api.http.disconnect import unless_disconnected
from pilotlight.api.http.request import Request
from pilotlight.api.http.response import Response
from pilotlight.api.http.whole_response import json_response
from pilotlight.api.serving import RequestReader, hold_for
from pilotlight.config import Settings
from pilotlight.errors import InvalidRequest
from pilotlight.generation.embedding import Embedder, EmbeddingParams, Embeddings
from pilotlight.schema.embeddings import (
    Embedding,
    EmbeddingList,
    EmbeddingRequest,
    EmbeddingUsage,
)


def embeddings_handler(embedder: Embedder, settings: Settings) -> Endpoint:
    """Return the endpoint."""
    reader = RequestReader(EmbeddingRequest, settings)

    @endpoint("/v1/embeddings", OPERATION)
    async def embeddings(request: Request) -> Response:
        asked = await reader.read(request)
        hold = hold_for(request.headers, settings)
        embedding = embedder.embed(
            embedding_params(asked), hold=hold, caller=account_of(request.scope)
        )
        made = await unless_disconnected(request.receive, embedding)
        return _response(made, asked)

    return embeddings


def embedding_params(asked: EmbeddingRequest) -> EmbeddingParams:
    """Return what *asked* means; raises `InvalidRequest` where its list holds both kinds."""
    listed = [asked.input] if isinstance(asked.input, str) else asked.input
    tokens = [one for one in listed if isinstance(one, int)]
    inputs = [one for one in listed if not isinstance(one, int)]
    if tokens and inputs:
        raise InvalidRequest("input: a list of token ids cannot have other items", param="input")
    return EmbeddingParams(
        model=asked.model,
        inputs=inputs or [tokens],
        several=bool(inputs) and not isinstance(asked.input, str),
        dimensions=asked.dimensions,
        prompt_name=asked.prompt_name,
    )


def _response(made: Embeddings, asked: EmbeddingRequest) -> Response:
    written = _base64 if asked.encoding_format == "base64" else list
    listed = EmbeddingList(
        data=[
            Embedding(index=index, embedding=written(vector))
            for index, vector in enumerate(made.vectors)
        ],
        model=made.model,
        usage=EmbeddingUsage(prompt_tokens=made.prompt_tokens, total_tokens=made.prompt_tokens),
    )
    return json_response(listed, made.timing)


def _base64(vector: "array[float]") -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
