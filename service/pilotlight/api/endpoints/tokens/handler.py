"""`POST /tokenize` and `POST /detokenize`, for llama-server's clients and for vLLM's."""

from collections.abc import Sequence

from pilotlight.api.endpoint import Endpoint, endpoint
from pilotlight.api.endpoints.openai import text_of
from pilotlight.api.endpoints.tokens.amounts import amounts
from pilotlight.api.endpoints.tokens.operation import DETOKENIZE, TOKENIZE
from pilotlight.api.endpoints.tokens.prompt import prompt_of
from pilotlight.api.http.auth import account_of
from pilotlight.api.http.disconnect import unless_disconnected
from pilotlight.api.http.request import Request
from pilotlight.api.http.response import Response
from pilotlight.api.http.whole_response import json_response
from pilotlight.api.serving import RequestReader, hold_for
from pilotlight.config import Settings
from pilotlight.generation import Generator
from pilotlight.generation.tokenizing import Tokenized, detokenize, tokenize
from pilotlight.schema.tokens import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
    TokenPiece,
)


def tokens_handlers(generator: Generator, settings: Settings) -> Sequence[Endpoint]:
    """Return the two endpoints."""
    texts, tokens = (
        RequestReader(TokenizeRequest, settings, amounts),
        RequestReader(DetokenizeRequest, settings),
    )

    @endpoint("/tokenize", TOKENIZE)
    async def tokenize_text(request: Request) -> Response:
        asked = await texts.read(request)
        pieces = bool(asked.with_pieces or asked.return_token_strs)
        tokenizing = tokenize(
            generator,
            asked.model,
            prompt_of(asked),
            pieces=pieces,
            hold=hold_for(request.headers, settings),
            caller=account_of(request.scope),
        )
        tokenized = await unless_disconnected(request.receive, tokenizing)
        return json_response(_tokenized(asked, tokenized))

    @endpoint("/detokenize", DETOKENIZE)
    async def detokenize_tokens(request: Request) -> Response:
        asked = await tokens.read(request)
        detokenizing = detokenize(
            generator,
            asked.model,
            asked.tokens,
            param="tokens",
            hold=hold_for(request.headers, settings),
            caller=account_of(request.scope),
        )
        text = await unless_disconnected(request.receive, detokenizing)
        return json_response(DetokenizeResponse(content=text, prompt=text))

    return tokenize_text, detokenize_tokens


def _tokenized(asked: TokenizeRequest, tokenized: Tokenized) -> TokenizeResponse:
    tokens: list[int | TokenPiece] = [*tokenized.tokens]
    if asked.with_pieces:
        spelt = zip(tokenized.tokens, tokenized.pieces, strict=True)
        tokens = [TokenPiece(id=token, piece=_piece(piece)) for token, piece in spelt]
    return TokenizeResponse(
        tokens=tokens,
        count=len(tokens),
        max_model_len=tokenized.context_length,
        token_strs=list(map(text_of, tokenized.pieces)) if asked.return_token_strs else None,
    )


def _piece(piece: bytes) -> str | list[int]:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return list(piece)
