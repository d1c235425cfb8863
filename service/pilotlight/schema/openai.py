"""Structs that several of OpenAI's endpoints have in common."""

from pilotlight.schema.base import Request, Response
from pilotlight.schema.models import ModelState


class RefusalPart(Request, kw_only=True, tag_field="type", tag="refusal"):
    """An earlier answer's refusal; to the model it is text."""

    refusal: str


class TextFormat(Request, kw_only=True, tag_field="type", tag="text"):
    """Plain text."""


class PromptTokensDetails(Response, kw_only=True):
    """Of the prompt's tokens, those that a slot still held and that were not evaluated again."""

    cached_tokens: int


class CompletionTokensDetails(Response, kw_only=True):
    """Of the answer's tokens, those that were spent on thinking."""

    reasoning_tokens: int


class CompletionUsage(Response, kw_only=True):
    """Tokens that the request took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class Loading(Response, kw_only=True):
    """How far the model is that a stream waits for."""

    state: ModelState
    progress: float
    """0 to 1, the share of its bytes that are read."""
    retry_after: float | None
    """Seconds that the load is expected to take still; null where unknown."""
