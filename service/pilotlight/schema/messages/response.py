"""A whole message."""

from typing import Any, Literal, TypeAlias

from pilotlight.schema.base import Response

StopReason: TypeAlias = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"
]


class AnsweredTextBlock(Response, kw_only=True, tag_field="type", tag="text"):
    """Text of the response."""

    text: str


class AnsweredThinkingBlock(Response, kw_only=True, tag_field="type", tag="thinking"):
    """The model's thinking; nothing is signed, so the signature is empty."""

    thinking: str
    signature: str = ""


class AnsweredToolUseBlock(Response, kw_only=True, tag_field="type", tag="tool_use"):
    """A tool call; input that is not a JSON object is `{"INVALID_JSON": its text}`."""

    id: str
    name: str
    input: dict[str, Any]


AnsweredBlock: TypeAlias = AnsweredTextBlock | AnsweredThinkingBlock | AnsweredToolUseBlock


class OutputTokensDetails(Response, kw_only=True):
    """Tokens of the output that are thinking."""

    thinking_tokens: int


class MessageUsage(Response, kw_only=True):
    """Tokens of the request; its prompt's are the sum of the first three."""

    input_tokens: int
    """Tokens of the prompt that were prefilled."""
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int
    """Tokens of the prompt that were cached, and not prefilled again."""
    output_tokens: int
    output_tokens_details: OutputTokensDetails


class AnsweredMessage(Response, kw_only=True):
    """A whole message; at the start of a stream, an empty one."""

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[AnsweredBlock]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: MessageUsage


class TokensCount(Response, kw_only=True):
    """Tokens of a prompt."""

    input_tokens: int
