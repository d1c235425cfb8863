"""A chat completion, whole or as the chunks of a stream."""

from typing import Literal, TypeAlias

from msgspec import UNSET, UnsetType

from pilotlight.schema.base import Response
from pilotlight.schema.openai import CompletionUsage, Loading

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "error"]


class AnsweredFunction(Response, kw_only=True):
    """The function that the model calls, with its arguments as JSON text."""

    name: str
    arguments: str


class AnsweredToolCall(Response, kw_only=True):
    """A call that the model makes."""

    id: str
    type: Literal["function"] = "function"
    function: AnsweredFunction


class TopLogprob(Response, kw_only=True):
    """A candidate token, and the natural logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob, kw_only=True):
    """A sampled token, and the likeliest candidates for its position."""

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(Response, kw_only=True):
    """The log probabilities of the content's tokens."""

    content: list[TokenLogprob] | None
    refusal: None = None


class ChatCompletionMessage(Response, kw_only=True):
    """The assistant's message; its reasoning is separate from its content."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[AnsweredToolCall] | UnsetType = UNSET


class Choice(Response, kw_only=True):
    """One choice."""

    index: int
    message: ChatCompletionMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(Response, kw_only=True):
    """A whole chat completion."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    system_fingerprint: str
    thought: str | UnsetType = UNSET
    """The reasoning of the first choice again, for clients that show this field."""


class FunctionDelta(Response, kw_only=True):
    """A piece of a function call; *name* is in the first one only."""

    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolCallDelta(Response, kw_only=True):
    """A piece of the call number *index*; *id* is in the first one only."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionDelta


class Delta(Response, kw_only=True):
    """The text that a chunk adds to the message."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET


class ChunkChoice(Response, kw_only=True):
    """The next piece of the choice *index*."""

    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(Response, kw_only=True):
    """One event of a stream; *choices* is empty in chunks that have *usage* or *loading*."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | UnsetType | None = UNSET
    system_fingerprint: str | UnsetType = UNSET
    thought: str | UnsetType = UNSET
    loading: Loading | UnsetType = UNSET
    """With `stream_options.include_loading`, before the choices begin."""
