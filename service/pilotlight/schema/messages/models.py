"""`/v1/models` as Anthropic's clients read it."""

from typing import Literal

from pilotlight.schema.base import Response


class AnthropicModel(Response, kw_only=True):
    """A model, which requests name by its *id*."""

    id: str
    type: Literal["model"] = "model"
    display_name: str
    created_at: str
    """When the model's file was last changed (RFC 3339); 1970 if it has no file."""
    lifecycle: Literal["active"] = "active"
    max_input_tokens: int | None
    """Tokens of one request, prompt and output; null if it cannot be served."""
    max_tokens: int | None
    """The same: an output ends with the context."""


class AnthropicModelPage(Response, kw_only=True):
    """A page of models; *has_more* is about the requested direction."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None
