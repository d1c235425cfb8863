"""Completions of text: OpenAI's older request with our additions, the answer, and the chunks.

A field typed `None` is one that OpenAI has and this server refuses. Its description says so in the
document.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from pilotlight.schema.base import Response
from pilotlight.schema.openai import CompletionUsage, Loading
from pilotlight.schema.sampling import SamplingRequest, TokenId
from pilotlight.schema.support import COMPLETIONS, MAX_TOKENS_HINT

PromptTokens: TypeAlias = Annotated[list[TokenId], Meta(min_length=1)]

Prompts: TypeAlias = Annotated[
    list[str | TokenId | PromptTokens],
    Meta(
        min_length=1,
        # The type cannot say it: all are token ids, or each is a prompt.
        extra_json_schema={
            "anyOf": [
                {"items": {"type": "integer"}},
                {"items": {"type": ["string", "array"]}, "maxItems": 1024},
            ]
        },
    ),
]

# ── request ─────────────────────────────────────────────────────────────────────────────────────


class CompletionRequest(SamplingRequest, kw_only=True):
    """OpenAI's request for completions, with some fields of llama-server's and vLLM's."""

    prompt: Annotated[
        str | Prompts | None,
        Meta(
            description=(
                "What to go on from: a text, token ids of this model, or a list of several texts"
                " and lists of token ids. An empty text or null starts a new text, where the model"
                " has a token for that."
            )
        ),
    ]
    max_tokens: Annotated[
        Annotated[int, Meta(ge=0, le=2**31 - 1)] | None,
        Meta(
            description=(
                "Most tokens of an answer. 16 if omitted. With 0 the prompt is evaluated, and an"
                " answer is empty, or with `echo` its prompt."
            ),
            extra=MAX_TOKENS_HINT,
        ),
    ] = None
    best_of: Annotated[
        Annotated[int, Meta(ge=1, le=128)] | None,
        Meta(
            description=(
                "Answers to generate for each prompt, of which the `n` with the highest mean log"
                " probability of their tokens are told; not in a stream. `n` if omitted."
            )
        ),
    ] = None
    echo: Annotated[
        bool | None,
        Meta(description="Whether an answer begins with its prompt; not with `logprobs`."),
    ] = None
    logprobs: Annotated[
        Annotated[int, Meta(ge=0, le=5)] | None,
        Meta(description="Tell tokens' log probabilities, and this many of the likeliest beside."),
    ] = None
    suffix: Annotated[None, COMPLETIONS["suffix"]] = None
    user: Annotated[str | None, COMPLETIONS["user"]] = None


# ── answer ──────────────────────────────────────────────────────────────────────────────────────

CompletionFinishReason: TypeAlias = Literal["stop", "length", "error"]


class CompletionLogprobs(Response, kw_only=True):
    r"""An answer's tokens, one in each list; a piece of a character reads `bytes:\xe2\x82`."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    """The likeliest tokens, and the one that came."""
    text_offset: list[int]
    """Where each begins, in characters of the answer's text."""


class CompletionChoice(Response, kw_only=True):
    """One answer; they are counted by prompt, then by answer."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: CompletionFinishReason


class Completion(Response, kw_only=True):
    """Whole answers."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage
    system_fingerprint: str


# ── stream ──────────────────────────────────────────────────────────────────────────────────────


class CompletionChunkChoice(Response, kw_only=True):
    """The next piece of the answer *index*."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: CompletionFinishReason | None = None


class CompletionChunk(Response, kw_only=True):
    """One event of a stream; *choices* is empty in those that carry *usage* or *loading*."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChunkChoice]
    usage: CompletionUsage | UnsetType | None = UNSET
    system_fingerprint: str | UnsetType = UNSET
    loading: Loading | UnsetType = UNSET
    """Where `stream_options.include_loading` asks for it, before the answers begin."""
