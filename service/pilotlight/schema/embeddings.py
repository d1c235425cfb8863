"""`/v1/embeddings`: OpenAI's request and response."""

from typing import Annotated, Literal

from msgspec import Meta

from pilotlight.schema.base import ModelName, NonEmpty, Request, Response, TokenId, TokenIds
from pilotlight.schema.support import NO_EFFECT

MOST_INPUTS = 2048
"""Inputs of a request; OpenAI's limit."""


class EmbeddingRequest(Request, kw_only=True):
    """OpenAI's request for embeddings."""

    model: ModelName
    input: Annotated[
        NonEmpty
        | Annotated[
            list[NonEmpty | TokenId | TokenIds], Meta(min_length=1, max_length=MOST_INPUTS)
        ],
        Meta(
            description=(
                "The inputs: a text, a list of texts, the token ids of one text, or a list of such"
                " lists. Token ids are used as they are; a text gets the model's special tokens at"
                " its ends. A list of token ids cannot have other items."
            )
        ),
    ]
    encoding_format: Annotated[
        Literal["float", "base64"] | None,
        Meta(
            description=(
                "How a vector is encoded: as numbers, or as the base64 of its 32-bit floats,"
                " little-endian. `float` if omitted."
            )
        ),
    ] = None
    dimensions: Annotated[
        Annotated[int, Meta(ge=1, le=2**31 - 1)] | None,
        Meta(
            description=(
                "Dimensions of each vector, at most the model's: the first of them, scaled to"
                " length 1. All if omitted."
            )
        ),
    ] = None
    prompt_name: Annotated[
        NonEmpty | None,
        Meta(
            description=(
                "Which of the model's prompts comes before each text, as in sentence-transformers:"
                " `query`. The model's folder or models.yaml has them. None if omitted."
            )
        ),
    ] = None
    user: Annotated[str | None, NO_EFFECT] = None


class Embedding(Response, kw_only=True):
    """One input's vector, of length 1: numbers, or base64 if the request asks for it."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Response, kw_only=True):
    """Tokens of all inputs, with the special tokens at their ends."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Response, kw_only=True):
    """The vectors, in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
