"""`/v1/models` as Anthropic's clients read it."""

from typing import Literal

from pilotlight.schema.base import Response


class AnthropicModel(Response, kw_only=True):
    """A model that can be asked for by its *id*."""

    id: str
    type: Literal["model"] = "model"
    display_name: str
    created_at: str
    """When the model's file was last changed (RFC 3339), the year 1970 where there is none."""
    lifecycle: Literal["active"] = "active"
    max_input_tokens: int | None
    """Tokens of one request, prompt and answer; null where it cannot be served."""
    max_tokens: int | None
    """The same: an answer ends where the context does."""


class AnthropicModelPage(Response, kw_only=True):
    """Some of the models, and whether there are more in the direction that was asked for."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None
