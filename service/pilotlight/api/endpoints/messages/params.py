"""Anthropic's request as parameters of a generation."""

from pilotlight.api.endpoints.messages.conversation import conversation_of
from pilotlight.api.endpoints.messages.tools import offer_of
from pilotlight.api.params import reasoning
from pilotlight.api.params.sampling import sampling_of
from pilotlight.api.params.tools import Offer
from pilotlight.errors import ThreadNotFound
from pilotlight.generation import ChatPrompt, GenerationParams, StructuredOutput
from pilotlight.guidance import JsonSchema
from pilotlight.schema.messages.request import (
    ContinuedThread,
    CountTokensRequest,
    MessagesRequest,
    ThinkingEnabled,
)


def structured_output_of(asked: CountTokensRequest) -> StructuredOutput | None:
    """Return the structured output of *asked*, if it has one."""
    if asked.output_config is None or asked.output_config.format is None:
        return None
    return StructuredOutput(
        JsonSchema(asked.output_config.format.schema), "output_config.format.schema"
    )


def thinking_budget(asked: CountTokensRequest) -> int | None:
    """Return the maximum tokens of thinking; None for no limit."""
    if isinstance(asked.thinking, ThinkingEnabled):
        return asked.thinking.budget_tokens
    effort = asked.output_config.effort if asked.output_config else None
    return reasoning.thinking_budget(effort)


def prompt_of(asked: CountTokensRequest, offer: Offer) -> ChatPrompt:
    """Return the prompt of *asked*."""
    return ChatPrompt(conversation_of(asked, offer.tools))


def generation_params(asked: MessagesRequest) -> GenerationParams:
    """Return the parameters of *asked*, with defaults for omitted fields.

    Raises `ThreadNotFound` where it continues a conversation that would have to be stored.
    """
    if isinstance(asked.thread, ContinuedThread):
        raise ThreadNotFound(
            "thread: nothing is stored; send the whole conversation as messages", param="thread"
        )
    offer = offer_of(asked)
    return GenerationParams(
        model=asked.model,
        prompts=(prompt_of(asked, offer),),
        max_tokens=asked.max_tokens,
        sampling=sampling_of(asked),
        stops=tuple(asked.stop_sequences or ()),
        structured_output=structured_output_of(asked),
        thinking_budget=thinking_budget(asked),
        tool_calling=offer.tool_calling,
    )
