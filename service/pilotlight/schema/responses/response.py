"""A whole response, as a list of items."""

from typing import Any, Literal, TypeAlias

from pilotlight.schema.base import Response
from pilotlight.schema.declared import DeclaredTool, SkippedTool
from pilotlight.schema.responses.input import ItemStatus
from pilotlight.schema.responses.request import (
    Effort,
    ResponseTextFormat,
    ResponseToolChoice,
    Summary,
)
from pilotlight.schema.support import OPENAI_VENDOR_TOOLS


class OutputTopLogprob(Response, kw_only=True):
    """A candidate token, and the natural logarithm of its probability."""

    token: str
    bytes: list[int]
    logprob: float


class OutputLogprob(OutputTopLogprob, kw_only=True):
    """A sampled token, and the likeliest candidates for its position."""

    top_logprobs: list[OutputTopLogprob]


class OutputText(Response, kw_only=True, tag_field="type", tag="output_text"):
    """The text of a message."""

    text: str
    annotations: list[Any]
    logprobs: list[OutputLogprob]


class ReasoningText(Response, kw_only=True, tag_field="type", tag="reasoning_text"):
    """The text of reasoning."""

    text: str


class OutputMessage(Response, kw_only=True, tag_field="type", tag="message"):
    """A message of the model's."""

    id: str
    status: ItemStatus
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class OutputFunctionCall(Response, kw_only=True, tag_field="type", tag="function_call"):
    """A call that the model makes, with its arguments as JSON text."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


class OutputReasoning(Response, kw_only=True, tag_field="type", tag="reasoning"):
    """The model's reasoning, in full and without a summary."""

    id: str
    status: ItemStatus
    summary: list[Any]
    content: list[ReasoningText]


OutputItem: TypeAlias = OutputMessage | OutputFunctionCall | OutputReasoning


class ResponseInputTokensDetails(Response, kw_only=True):
    """Tokens of the prompt that were cached, and not prefilled again."""

    cached_tokens: int
    cache_write_tokens: int = 0
    """Always 0: writing to the prompt cache costs nothing."""


class ResponseOutputTokensDetails(Response, kw_only=True):
    """Tokens of the output that are reasoning."""

    reasoning_tokens: int


class ResponseUsage(Response, kw_only=True):
    """Tokens of the request: its prompt's and its output's."""

    input_tokens: int
    input_tokens_details: ResponseInputTokensDetails
    output_tokens: int
    output_tokens_details: ResponseOutputTokensDetails
    total_tokens: int


class IncompleteDetails(Response, kw_only=True):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens"]


class ResponseFault(Response, kw_only=True):
    """Why a response failed. OpenAI's list of codes has one for errors of the server."""

    code: Literal["server_error"] = "server_error"
    message: str
    param: str | None
    type: str
    """The error's type, as an error's body has it."""


class AnsweredDeclaration(DeclaredTool):
    """An item of `tools` in a response: the request's."""

    __slots__ = ()
    skipped_types = OPENAI_VENDOR_TOOLS


class AnsweredTool(Response, AnsweredDeclaration, kw_only=True, tag_field="type", tag="function"):
    """A function of the request."""

    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


class SkippedAnsweredTool(SkippedTool, AnsweredDeclaration):
    """A tool of the request that was skipped, as it was declared."""


AnsweredDeclaration.offered, AnsweredDeclaration.skipped = AnsweredTool, SkippedAnsweredTool


class AnsweredText(Response, kw_only=True):
    """The request's options of the text, with defaults for omitted ones."""

    format: ResponseTextFormat
    verbosity: Literal["low", "medium", "high"]


class AnsweredReasoning(Response, kw_only=True):
    """The request's options of the reasoning."""

    effort: Effort | None
    summary: Summary | None


class ResponseObject(Response, kw_only=True):
    """A response, with fields of its request; in a stream's events, as far as it is complete."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    model: str
    output: list[OutputItem]
    error: ResponseFault | None = None
    incomplete_details: IncompleteDetails | None = None
    usage: ResponseUsage | None = None

    background: bool = False
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, str]
    parallel_tool_calls: bool
    previous_response_id: None = None
    prompt_cache_key: str | None
    reasoning: AnsweredReasoning
    safety_identifier: str | None
    service_tier: Literal["default"] = "default"
    store: bool = False
    """Always false: no response is stored."""
    temperature: float
    text: AnsweredText
    tool_choice: ResponseToolChoice
    tools: list[AnsweredDeclaration]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"] = "disabled"
    user: str | None
