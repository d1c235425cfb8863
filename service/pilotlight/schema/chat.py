"""Chat completions: OpenAI's request with our additions, the answer, and the stream's chunks.

A field typed `None` is one that OpenAI has and this server refuses; a field whose docstring says
"no effect" is accepted for its clients' sake.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType

from pilotlight.schema.base import Request, Response

NonEmpty = Annotated[str, Meta(min_length=1)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
TokenIdKey = Annotated[str, Meta(pattern="^[0-9]{1,9}$")]

# ── messages ────────────────────────────────────────────────────────────────────────────────────


class TextPart(Request, kw_only=True, tag_field="type", tag="text"):
    """A piece of a message's text."""

    text: str


Content: TypeAlias = str | Annotated[list[TextPart], Meta(min_length=1)]


class SystemMessage(Request, kw_only=True, tag_field="role", tag="system"):
    """What the model is told about its task."""

    content: Content
    name: str | None = None


class DeveloperMessage(Request, kw_only=True, tag_field="role", tag="developer"):
    """OpenAI's newer name for a system message."""

    content: Content
    name: str | None = None


class UserMessage(Request, kw_only=True, tag_field="role", tag="user"):
    """What the user says."""

    content: Content
    name: str | None = None


class CalledFunction(Request, kw_only=True):
    """A function that the model called, with its arguments as JSON text."""

    name: NonEmpty
    arguments: str


class ToolCall(Request, kw_only=True):
    """A call that an earlier answer made."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class AssistantMessage(Request, kw_only=True, tag_field="role", tag="assistant"):
    """An earlier answer, as a client got it."""

    content: Content | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    """No effect."""
    audio: None = None
    function_call: None = None


class ToolMessage(Request, kw_only=True, tag_field="role", tag="tool"):
    """What a tool answered."""

    content: Content
    tool_call_id: str


Message: TypeAlias = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage

# ── request ─────────────────────────────────────────────────────────────────────────────────────


class FunctionDefinition(Request, kw_only=True):
    """A function the model may call; *parameters* is a JSON Schema."""

    name: NonEmpty
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Request, kw_only=True):
    """A tool the model may use."""

    function: FunctionDefinition
    type: Literal["function"]


class StreamOptions(Request, kw_only=True):
    """What a stream carries beside the answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """No effect."""


class TextFormat(Request, kw_only=True):
    """Plain text."""

    type: Literal["text"]


class ChatCompletionRequest(Request, kw_only=True):
    """OpenAI's chat request, with `top_k`, `min_p`, `stop_token_ids` and `chat_template_kwargs`."""

    model: NonEmpty
    messages: Annotated[list[Message], Meta(min_length=1)]

    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    logit_bias: dict[TokenIdKey, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None

    max_completion_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    stop: NonEmpty | Annotated[list[NonEmpty], Meta(max_length=16)] | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=64)] | None = None
    n: Annotated[int, Meta(ge=1, le=1)] | None = None

    stream: bool | None = None
    stream_options: StreamOptions | None = None

    tools: Annotated[list[Tool], Meta(max_length=128)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None
    """No effect."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    """`none` turns the thinking off; the rest is passed to the chat template."""
    chat_template_kwargs: dict[str, Any] | None = None
    response_format: TextFormat | None = None

    metadata: Annotated[dict[str, str], Meta(max_length=16)] | None = None
    """No effect."""
    prompt_cache_key: str | None = None
    """No effect: a prompt's beginning is reused wherever a slot still holds it."""
    prompt_cache_options: dict[str, Any] | None = None
    """No effect."""
    prompt_cache_retention: str | None = None
    """No effect."""
    safety_identifier: str | None = None
    """No effect."""
    service_tier: str | None = None
    """No effect."""
    store: bool | None = None
    """No effect: nothing is stored."""
    user: str | None = None
    """No effect."""
    verbosity: Literal["low", "medium", "high"] | None = None
    """No effect."""

    audio: None = None
    function_call: None = None
    functions: None = None
    logprobs: None = None
    modalities: list[Literal["text"]] | None = None
    moderation: None = None
    prediction: None = None
    top_logprobs: None = None
    web_search_options: None = None


# ── answer ──────────────────────────────────────────────────────────────────────────────────────

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "error"]


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


class AnsweredFunction(Response, kw_only=True):
    """The function that the model calls, with its arguments as JSON text."""

    name: str
    arguments: str


class AnsweredToolCall(Response, kw_only=True):
    """A call that the model makes."""

    id: str
    type: Literal["function"] = "function"
    function: AnsweredFunction


class ChatCompletionMessage(Response, kw_only=True):
    """The answer; its thinking is apart from its content."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[AnsweredToolCall] | UnsetType = UNSET


class Choice(Response, kw_only=True):
    """The one answer."""

    index: int = 0
    message: ChatCompletionMessage
    logprobs: None = None
    finish_reason: FinishReason


class ChatCompletion(Response, kw_only=True):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    system_fingerprint: str
    thought: str | UnsetType = UNSET
    """The answer's thinking once more, where clients that show it look for it."""


# ── stream ──────────────────────────────────────────────────────────────────────────────────────


class FunctionDelta(Response, kw_only=True):
    """A piece of a function call; *name* comes first and once."""

    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolCallDelta(Response, kw_only=True):
    """A piece of the call that *index* counts; *id* comes first and once."""

    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: FunctionDelta


class Delta(Response, kw_only=True):
    """What a chunk adds to the message."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET


class ChunkChoice(Response, kw_only=True):
    """The one answer's next piece."""

    index: int = 0
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(Response, kw_only=True):
    """One event of a stream; *choices* is empty in the one that carries the usage."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | UnsetType | None = UNSET
    system_fingerprint: str
    thought: str | UnsetType = UNSET
