"""What the OpenAPI document says of `POST /tokenize` and `POST /detokenize`."""

from pilotlight.api.openapi.generation import IMAGE_ERRORS, PREFER
from pilotlight.api.openapi.operation import Content, Operation, SuccessResponse
from pilotlight.errors import (
    InferenceError,
    InsufficientMemory,
    InvalidRequest,
    ModelLoadFailed,
    ModelLoading,
    ModelNotFound,
    RateLimited,
    RequestTooLarge,
    ShuttingDown,
    UnsupportedMediaType,
)
from pilotlight.schema.tokens import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeRequest,
    TokenizeResponse,
)

_ERRORS = (
    InvalidRequest,
    ModelNotFound,
    RateLimited,
    RequestTooLarge,
    UnsupportedMediaType,
    InferenceError,
    ModelLoading,
    ModelLoadFailed,
    InsufficientMemory,
    ShuttingDown,
)

_TOKENS = {"tokens": [311, 42, 7], "count": 3, "max_model_len": 1024, "token_strs": None}
_PIECES = [{"id": 311, "piece": "two"}, {"id": 42, "piece": " "}, {"id": 7, "piece": [195]}]

TOKENIZE = Operation(
    id="tokenize",
    tag="tokens",
    summary="Tokenize a text or a conversation",
    description=(
        "Returns the tokens of a text or a conversation, with the fields of llama-server"
        " (`content`) and of vLLM (`prompt`, `messages`). Nothing is generated."
    ),
    parameters=[PREFER],
    body=Content(
        type=TokenizeRequest,
        examples={
            "content": {"model": "spark", "content": "What is 2+2?", "with_pieces": True},
            "prompt": {"model": "spark", "prompt": "What is 2+2?"},
            "messages": {
                "model": "spark",
                "messages": [{"role": "user", "content": "What is 2+2?"}],
            },
        },
    ),
    responses={
        200: SuccessResponse(
            description="The tokens.",
            content=[
                Content(
                    type=TokenizeResponse,
                    examples={"ids": _TOKENS, "pieces": _TOKENS | {"tokens": _PIECES}},
                )
            ],
        )
    },
    errors=[*_ERRORS, *IMAGE_ERRORS],
)

DETOKENIZE = Operation(
    id="detokenize",
    tag="tokens",
    summary="Detokenize tokens",
    parameters=[PREFER],
    body=Content(
        type=DetokenizeRequest,
        examples={"tokens": {"model": "spark", "tokens": [311, 42, 7]}},
    ),
    responses={
        200: SuccessResponse(
            description="The text.",
            content=[
                Content(
                    type=DetokenizeResponse,
                    examples={"text": {"content": "two plus", "prompt": "two plus"}},
                )
            ],
        )
    },
    errors=_ERRORS,
)
