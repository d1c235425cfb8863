"""What the OpenAPI document says of `POST /v1/embeddings`."""

from pilotlight.api.openapi.generation import ERRORS, PREFER
from pilotlight.api.openapi.operation import Content, Operation, SuccessResponse
from pilotlight.schema.embeddings import EmbeddingList, EmbeddingRequest

_REQUEST = {"model": "bge-small", "input": "The cat sat on the mat."}
_USAGE = {"prompt_tokens": 9, "total_tokens": 9}
_EMBEDDINGS = {"object": "list", "model": "bge-small", "usage": _USAGE}


def _data(embedding: object) -> list[dict[str, object]]:
    return [{"object": "embedding", "index": 0, "embedding": embedding}]


OPERATION = Operation(
    id="createEmbedding",
    tag="embeddings",
    summary="Create embeddings",
    description=(
        "Returns a vector for each input. Inputs of one or several requests share a batch."
    ),
    parameters=[PREFER],
    body=Content(
        type=EmbeddingRequest,
        examples={
            "text": _REQUEST,
            "texts": _REQUEST | {"input": ["The cat sat.", "The dog ran."], "dimensions": 256},
            "prompt": _REQUEST | {"prompt_name": "query"},
            "tokens": _REQUEST | {"input": [101, 1996, 4937, 102], "encoding_format": "base64"},
        },
    ),
    responses={
        200: SuccessResponse(
            description="The vectors, in the order of the inputs.",
            content=[
                Content(
                    type=EmbeddingList,
                    examples={
                        "float": _EMBEDDINGS | {"data": _data([0.6, -0.8])},
                        "base64": _EMBEDDINGS | {"data": _data("mpkZP83MTL8=")},
                    },
                )
            ],
        )
    },
    errors=ERRORS,
)
