"""What the OpenAPI document says of `POST /v1/rerank` and `POST /v2/rerank`."""

from msgspec.structs import replace

from pilotlight.api.openapi.generation import ERRORS, PREFER
from pilotlight.api.openapi.operation import Content, Operation, SuccessResponse
from pilotlight.api.openapi.wire_schemas import REF
from pilotlight.schema.rerank import RankedText, RerankRequest, RerankResponse

_MODEL = "bge-reranker"
_QUERY = {"model": _MODEL, "query": "Where do cats sleep?"}
_TEXTS = ["Cats sleep in baskets.", "Dogs bark."]
_RESPONSE = {
    "object": "list",
    "id": "rerank-5f0c7d1e9a3b48c26d704e1f",
    "model": _MODEL,
    "results": [{"index": 0, "relevance_score": 4.25}, {"index": 1, "relevance_score": -7.5}],
    "usage": {"prompt_tokens": 25, "total_tokens": 25},
    "meta": {
        "api_version": {"version": "1"},
        "tokens": {"input_tokens": 25, "output_tokens": 0},
    },
}

RERANK = Operation(
    id="rerank",
    tag="rerank",
    summary="Rank documents",
    description=(
        "Scores how relevant each document is to the query, and returns the most relevant first."
        " The documents of one or several requests share a batch."
    ),
    parameters=[PREFER],
    body=Content(
        type=RerankRequest,
        examples={
            "documents": _QUERY | {"documents": _TEXTS, "top_n": 1},
            "objects": _QUERY
            | {
                "documents": [{"title": "Cats", "text": "They sleep in baskets."}],
                "rank_fields": ["title", "text"],
                "return_documents": True,
            },
            "TEI": {"query": "Where do cats sleep?", "texts": _TEXTS, "truncate": True},
        },
    ),
    responses={
        200: SuccessResponse(
            description="The documents by relevance; with `texts` a list, as TEI has it.",
            content=[
                Content(
                    schema={
                        "anyOf": [
                            {"$ref": REF.format(name="RerankResponse")},
                            {"type": "array", "items": {"$ref": REF.format(name="RankedText")}},
                        ]
                    },
                    mentions=[RerankResponse, RankedText],
                    examples={
                        "documents": _RESPONSE,
                        "TEI": [{"index": 0, "score": 0.986}, {"index": 1, "score": 0.001}],
                    },
                )
            ],
        )
    },
    errors=ERRORS,
)

RERANK_V2 = replace(
    RERANK,
    id="rerankV2",
    summary="Rank documents, at the path of Cohere's API",
    description=f"{RERANK.description} Scores are from 0 to 1 unless `raw_scores` is true.",
)
