"""`POST /v1/rerank` and `POST /v2/rerank`: from the request to its scores."""

import secrets
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from pilotlight.api.endpoint import Endpoint, endpoint
from pilotlight.api.endpoints.rerank.operation import RERANK, RERANK_V2
from pilotlight.api.endpoints.rerank.params import ranking_params
from pilotlight.api.http.auth import account_of
from pilotlight.api.http.disconnect import unless_disconnected
from pilotlight.api.http.request import Request
from pilotlight.api.http.response import Response
from pilotlight.api.http.whole_response import json_response
from pilotlight.api.openapi.operation import Operation
from pilotlight.api.serving import RequestReader, hold_for
from pilotlight.config import Settings
from pilotlight.generation.ranking import Ranking, Reranker
from pilotlight.schema.rerank import (
    ApiVersion,
    Document,
    RankedDocument,
    RankedText,
    RerankMeta,
    RerankRequest,
    RerankResponse,
    RerankTokens,
    RerankUsage,
)


def rerank_handlers(reranker: Reranker, settings: Settings) -> Sequence[Endpoint]:
    """Return the endpoint at both of its paths."""
    reader = RequestReader(RerankRequest, settings)

    def at(path: str, version: str, operation: Operation) -> Endpoint:
        @endpoint(path, operation)
        async def rerank(request: Request) -> Response:
            asked = await reader.read(request)
            params = ranking_params(asked, settings.max_request_bytes)
            hold = hold_for(request.headers, settings)
            ranking = reranker.rank(params, hold=hold, caller=account_of(request.scope))
            made = await unless_disconnected(request.receive, ranking)
            return json_response(rerank_response(made, asked, version), made.timing)

        return rerank

    return at("/v1/rerank", "1", RERANK), at("/v2/rerank", "2", RERANK_V2)


def rerank_response(
    made: Ranking, asked: RerankRequest, version: str
) -> RerankResponse | list[RankedText]:
    """Return the body: TEI's list for `texts`, else Jina's and Cohere's."""
    raw = asked.raw_scores
    if raw is None:
        raw = asked.texts is None and version == "1"
    scores = made.scores if raw else made.probabilities
    order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[: asked.top_n]
    with_text = asked.return_documents or asked.return_text
    if asked.texts is not None:
        return [
            RankedText(
                index=index, score=scores[index], text=asked.texts[index] if with_text else UNSET
            )
            for index in order
        ]
    documents = asked.documents or []
    return RerankResponse(
        id=f"rerank-{secrets.token_hex(12)}",
        model=made.model,
        results=[
            RankedDocument(
                index=index,
                relevance_score=scores[index],
                document=_object(documents[index]) if with_text else UNSET,
            )
            for index in order
        ],
        usage=RerankUsage(prompt_tokens=made.prompt_tokens, total_tokens=made.prompt_tokens),
        meta=RerankMeta(
            api_version=ApiVersion(version=version),
            tokens=RerankTokens(input_tokens=made.prompt_tokens),
        ),
    )


def _object(document: Document) -> dict[str, Any]:
    return {"text": document} if isinstance(document, str) else document
