"""Structs that several of OpenAI's endpoints have in common."""

from msgspec import UNSET, UnsetType

from pilotlight.schema.base import Request, Response
from pilotlight.schema.models import LoadPhase, ModelState


class RefusalPart(Request, kw_only=True, tag_field="type", tag="refusal"):
    """A refusal of an earlier response; the model gets it as text."""

    refusal: str


class TextFormat(Request, kw_only=True, tag_field="type", tag="text"):
    """Plain text."""


class PromptTokensDetails(Response, kw_only=True):
    """Tokens of the prompt that were cached, and not prefilled again."""

    cached_tokens: int


class CompletionTokensDetails(Response, kw_only=True):
    """Tokens of the completion that are reasoning, and those that were drafted."""

    reasoning_tokens: int
    accepted_prediction_tokens: int | UnsetType = UNSET
    """Tokens of the completion that were drafted; omitted if none were."""
    rejected_prediction_tokens: int | UnsetType = UNSET
    """Drafted tokens that are not in the completion, nor in `completion_tokens`."""


class CompletionUsage(Response, kw_only=True):
    """Tokens of the request: its prompt's and its completion's."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class Loading(Response, kw_only=True):
    """Progress of the model that a stream waits for."""

    state: ModelState
    progress: float
    """0 to 1, the share of the load's expected time that has passed."""
    retry_after: float | None
    """Seconds until the load is expected to end; null if unknown."""
    phase: LoadPhase | None
    """The load's phase; null before the first one, and once the model is ready."""
