"""Log probabilities as chat answers tell them."""

from collections.abc import Iterable

from pilotlight.api.endpoints.openai import finite, text_of
from pilotlight.schema.chat.response import TokenLogprob, TopLogprob
from pilotlight_backend import Candidate, Token


def chat_logprobs(tokens: Iterable[Token]) -> list[TokenLogprob]:
    """Return what is told of *tokens*."""
    return [
        TokenLogprob(
            token=text_of(token.piece),
            logprob=finite(token.logprob),
            bytes=list(token.piece),
            top_logprobs=[_top(candidate) for candidate in token.candidates],
        )
        for token in tokens
    ]


def _top(candidate: Candidate) -> TopLogprob:
    return TopLogprob(
        token=text_of(candidate.piece),
        logprob=finite(candidate.logprob),
        bytes=list(candidate.piece),
    )
