"""What a request to rank means."""

from collections.abc import Sequence

from pilotlight.errors import InvalidRequest
from pilotlight.generation.ranking import RankingParams
from pilotlight.schema.rerank import Document, RerankRequest
from pilotlight_backend import decode_errors


def ranking_params(asked: RerankRequest, most_bytes: int) -> RankingParams:
    """Return what *asked* means; raises `InvalidRequest`.

    The query, which is tokenized with each document, may have *most_bytes* characters in all: a
    small request could otherwise become a large one.
    """
    if (asked.documents is None) == (asked.texts is None):
        raise InvalidRequest("documents: expected it or texts, and not both", param="documents")
    count = len(asked.documents or asked.texts or ())
    if len(asked.query) * count > most_bytes:
        raise InvalidRequest(
            f"query: expected at most {most_bytes // count} characters with {count} documents, got"
            f" {len(asked.query)}",
            param="query",
        )
    fields = asked.rank_fields or ["text"]
    return RankingParams(
        model=asked.model,
        query=asked.query,
        documents=(
            [text_of(one, fields, index) for index, one in enumerate(asked.documents)]
            if asked.documents is not None
            else asked.texts or []
        ),
        field="documents" if asked.texts is None else "texts",
        document_tokens=asked.max_tokens_per_doc,
        truncate=bool(asked.truncate),
    )


def text_of(document: Document, fields: Sequence[str], index: int) -> str:
    """Return the text of *document*, an object's from its *fields*; raises `InvalidRequest`."""
    if isinstance(document, str):
        return document
    texts = []
    for field in fields:
        text = document.get(field)
        if not isinstance(text, str):
            what = "expected a string" if field in document else decode_errors.REQUIRED
            param = f"documents[{index}].{field}"
            raise InvalidRequest(f"{param}: {what}", param=param)
        texts.append(text)
    return "\n".join(texts)
