"""Log probabilities as chat answers tell them."""

from collections.abc import Iterable

from pilotlight.schema.chat.response import TokenLogprob, TopLogprob
from pilotlight_backend import Candidate, Token

LEAST = -9999.0
"""What stands for minus infinity, which JSON does not know; OpenAI's own number."""


def finite(logprob: float | None) -> float:
    """Return *logprob* as JSON can say it."""
    return LEAST if logprob is None or logprob < LEAST else logprob


def text_of(piece: bytes) -> str:
    """Return what a token says; half a character is U+FFFD, its bytes are told beside it."""
    return piece.decode("utf-8", "replace")


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
