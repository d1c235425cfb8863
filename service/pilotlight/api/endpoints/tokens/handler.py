"""`POST /tokenize` and `POST /detokenize`, for llama-server's clients and for vLLM's."""

from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from pilotlight.api.endpoints.chat.logprobs import text_of
from pilotlight.api.endpoints.tokens.operation import DETOKENIZE, TOKENIZE
from pilotlight.api.endpoints.tokens.prompt import prompt_of
from pilotlight.api.http.auth import account_of
from pilotlight.api.http.bodies import Body
from pilotlight.api.http.disconnect import unless_disconnected
from pilotlight.api.http.whole_response import json_response
from pilotlight.api.params.amounts import check_amounts
from pilotlight.api.params.hold import hold_of
from pilotlight.config import Settings
from pilotlight.generation import Generator
from pilotlight.generation.tokenizing import Tokenized, detokenize, tokenize
from pilotlight.models.loaded import Hold
from pilotlight.schema.tokens import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
    TokenPiece,
)


def tokens_handlers(generator: Generator, settings: Settings) -> Sequence[HTTPRouteHandler]:
    """Return the two endpoints."""
    texts, tokens = Body(TokenizeRequest), Body(DetokenizeRequest)
    ignore_unknown = settings.unknown_fields == "ignore"

    def hold(request: Request[Any, Any, Any]) -> Hold:
        to_the_end = settings.platform == "cloud_run"
        return hold_of(request.headers, default=settings.hold, to_the_end=to_the_end)

    @post("/tokenize", status_code=200, opt={"operation": TOKENIZE})
    async def tokenize_text(request: Request[Any, Any, Any]) -> Response[bytes]:
        asked = await texts.read(request, ignore_unknown=ignore_unknown)
        check_amounts(asked, settings)
        pieces = bool(asked.with_pieces or asked.return_token_strs)
        tokenizing = tokenize(
            generator,
            asked.model,
            prompt_of(asked),
            pieces=pieces,
            hold=hold(request),
            caller=account_of(request),
        )
        tokenized = await unless_disconnected(request.receive, tokenizing)
        return json_response(_tokenized(asked, tokenized), None)

    @post("/detokenize", status_code=200, opt={"operation": DETOKENIZE})
    async def detokenize_tokens(request: Request[Any, Any, Any]) -> Response[bytes]:
        asked = await tokens.read(request, ignore_unknown=ignore_unknown)
        detokenizing = detokenize(
            generator,
            asked.model,
            asked.tokens,
            param="tokens",
            hold=hold(request),
            caller=account_of(request),
        )
        text = await unless_disconnected(request.receive, detokenizing)
        return json_response(DetokenizeResponse(content=text, prompt=text), None)

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
