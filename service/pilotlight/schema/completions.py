"""Text completions: OpenAI's request with additions, the completion, and the chunks.

A field typed `None` is one of OpenAI's that this server refuses; `schema/support.py` says why.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from pilotlight.schema.base import Response, TokenId, TokenIds
from pilotlight.schema.openai import CompletionUsage, Loading
from pilotlight.schema.sampling import SamplingRequest
from pilotlight.schema.support import COMPLETIONS, MAX_TOKENS_HINT

Prompts: TypeAlias = Annotated[
    list[str | TokenId | TokenIds],
    Meta(
        min_length=1,
        # The type cannot say that all items are token ids, or that each is a prompt.
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
    """OpenAI's request for text completions, with some fields of llama-server's and vLLM's."""

    prompt: Annotated[
        str | Prompts | None,
        Meta(
            description=(
                "The text to continue: a string, token ids of this model, or a list of strings and"
                " of lists of token ids. An empty string or null starts a new text if the model has"
                " a token for that."
            )
        ),
    ]
    max_tokens: Annotated[
        Annotated[int, Meta(ge=0, le=2**31 - 1)] | None,
        Meta(
            description=(
                "Maximum tokens of a choice. 16 if omitted. With 0 the prompt is prefilled, and the"
                " choice is empty, or with `echo` the prompt."
            ),
            extra=MAX_TOKENS_HINT,
        ),
    ] = None
    best_of: Annotated[
        Annotated[int, Meta(ge=1, le=128)] | None,
        Meta(
            description=(
                "Choices to generate for each prompt, of which the `n` with the highest mean log"
                " probability of their tokens are returned; not in a stream. `n` if omitted."
            )
        ),
    ] = None
    echo: Annotated[
        bool | None,
        Meta(description="Whether a choice begins with its prompt; not with `logprobs`."),
    ] = None
    logprobs: Annotated[
        Annotated[int, Meta(ge=0, le=5)] | None,
        Meta(description="Return log probabilities, with this many of the likeliest tokens each."),
    ] = None
    suffix: Annotated[None, COMPLETIONS["suffix"]] = None
    user: Annotated[str | None, COMPLETIONS["user"]] = None


# ── completion ──────────────────────────────────────────────────────────────────────────────────

CompletionFinishReason: TypeAlias = Literal["stop", "length", "error"]


class CompletionLogprobs(Response, kw_only=True):
    r"""A choice's tokens, one in each list; a part of a character reads `bytes:\xe2\x82`."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    """The likeliest tokens, and the sampled one."""
    text_offset: list[int]
    """Where each begins, in characters of the choice's text."""


class CompletionChoice(Response, kw_only=True):
    """One choice; choices are numbered by prompt, then by choice."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: CompletionFinishReason


class Completion(Response, kw_only=True):
    """A whole completion."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage
    system_fingerprint: str


# ── stream ──────────────────────────────────────────────────────────────────────────────────────


class CompletionChunkChoice(Response, kw_only=True):
    """The next piece of the choice *index*."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: CompletionFinishReason | None = None


class CompletionChunk(Response, kw_only=True):
    """One event of a stream; *choices* is empty in chunks that have *usage* or *loading*."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChunkChoice]
    usage: CompletionUsage | UnsetType | None = UNSET
    system_fingerprint: str | UnsetType = UNSET
    loading: Loading | UnsetType = UNSET
    """With `stream_options.include_loading`, before the choices begin."""
