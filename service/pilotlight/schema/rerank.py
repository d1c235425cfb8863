"""`/v1/rerank` and `/v2/rerank`: requests of Jina, Cohere and Text Embeddings Inference."""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from pilotlight.schema.base import ModelName, NonEmpty, Request, Response
from pilotlight.schema.support import RERANK

MOST_DOCUMENTS = 2048
"""Documents of a request; Jina's limit."""

Document: TypeAlias = str | dict[str, Any]


class RerankRequest(Request, kw_only=True):
    """A query, and its documents: `documents`, or `texts` with TEI's response."""

    model: Annotated[
        ModelName | None,
        Meta(description="The model's name. If omitted, the only model that ranks is used."),
    ] = None
    query: Annotated[NonEmpty, Meta(description="What the documents are compared with.")]
    documents: Annotated[
        Annotated[list[Document], Meta(min_length=1, max_length=MOST_DOCUMENTS)] | None,
        Meta(
            description=(
                "The documents: texts, or objects with a `text` or with the fields that"
                " `rank_fields` names."
            )
        ),
    ] = None
    texts: Annotated[
        Annotated[list[str], Meta(min_length=1, max_length=MOST_DOCUMENTS)] | None,
        Meta(
            description=(
                "The documents under TEI's name. The response is TEI's then: a list of scores."
            )
        ),
    ] = None
    top_n: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="So many results, the most relevant ones. All if omitted."),
    ] = None
    rank_fields: Annotated[
        Annotated[list[NonEmpty], Meta(min_length=1, max_length=64)] | None,
        Meta(
            description=(
                "Fields of an object that make its text, in this order, each on a line. `text` if"
                " omitted."
            )
        ),
    ] = None
    return_documents: Annotated[
        bool | None, Meta(description="Whether results have their documents. False if omitted.")
    ] = None
    return_text: Annotated[bool | None, Meta(description="TEI's name for `return_documents`.")] = (
        None
    )
    raw_scores: Annotated[
        bool | None,
        Meta(
            description=(
                "Whether scores are the model's own numbers; if not, they are from 0 to 1. If"
                " omitted, true at `/v1/rerank` with `documents`, as in llama-server, and false"
                " with `texts` and at `/v2/rerank`."
            )
        ),
    ] = None
    truncate: Annotated[
        bool | None,
        Meta(
            description=(
                "Whether a document that is too long for the model is cut at its end. If not, it is"
                " an error."
            )
        ),
    ] = None
    truncation_direction: Annotated[
        # Not two values of an enumeration: generated clients name them in capitals, alike.
        Annotated[str, Meta(pattern="^[Rr]ight$")] | None,
        Meta(description="Where TEI cuts: a document is always cut at its end."),
    ] = None
    max_tokens_per_doc: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Tokens to which a longer document is cut. Uncut if omitted."),
    ] = None
    max_chunks_per_doc: Annotated[int | None, RERANK["max_chunks_per_doc"]] = None
    priority: Annotated[int | None, RERANK["priority"]] = None
    user: Annotated[str | None, RERANK["user"]] = None
    relevant_spans: Annotated[None, RERANK["relevant_spans"]] = None


class RankedDocument(Response, kw_only=True):
    """A document's place in the request, and its score."""

    index: int
    relevance_score: float
    """The higher, the more relevant."""
    document: dict[str, Any] | UnsetType = UNSET
    """The document, if it was requested: as it was sent, a text as `{"text": …}`."""


class RerankUsage(Response, kw_only=True):
    """Tokens of all documents, each with the query."""

    prompt_tokens: int
    total_tokens: int


class ApiVersion(Response, kw_only=True):
    """The version in the path of Cohere's API."""

    version: str


class RerankTokens(Response, kw_only=True):
    """The usage in Cohere's words."""

    input_tokens: int
    output_tokens: int = 0


class RerankMeta(Response, kw_only=True):
    """What Cohere's responses have beside the results."""

    api_version: ApiVersion
    tokens: RerankTokens


class RerankResponse(Response, kw_only=True):
    """The documents, the most relevant one first."""

    object: Literal["list"] = "list"
    id: str
    model: str
    results: list[RankedDocument]
    usage: RerankUsage
    meta: RerankMeta


class RankedText(Response, kw_only=True):
    """A text's place in the request, and its score: TEI's `Rank`."""

    index: int
    score: float
    text: str | UnsetType = UNSET
    """The text, if it was requested."""
