"""Messages: Anthropic's request, its answer, and the events of a stream.

A field typed `None` is one that Anthropic has and this server refuses; a field without effect is
accepted for its clients' sake. Their descriptions say so in the document.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from pilotlight.schema.base import NO_EFFECT, NonEmpty, Request, Response

# ── messages ────────────────────────────────────────────────────────────────────────────────────


class CacheControl(Request, kw_only=True):
    """Where Anthropic would cache; here a prompt's beginning is reused wherever a slot holds it."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


Cached: TypeAlias = Annotated[CacheControl | None, NO_EFFECT]


class PlainTextBlock(Request, kw_only=True):
    """A piece of text, where nothing but text may stand.

    Its type is a field and no tag: msgspec takes a tag that is missing for the right one where
    there is only one struct to choose.
    """

    type: Literal["text"]
    text: str
    cache_control: Cached = None
    citations: Annotated[list[Any] | None, NO_EFFECT] = None


class TextBlock(Request, kw_only=True, tag_field="type", tag="text"):
    """A piece of a message's text."""

    text: str
    cache_control: Cached = None
    citations: Annotated[list[Any] | None, NO_EFFECT] = None


class ToolResultBlock(Request, kw_only=True, tag_field="type", tag="tool_result"):
    """What a tool answered to the call *tool_use_id*, or that it failed."""

    tool_use_id: NonEmpty
    content: str | list[PlainTextBlock] | None = None
    is_error: bool | None = None
    cache_control: Cached = None
    toolset_name: Annotated[None, Meta(description="Refused: there are no toolsets.")] = None


class DirectCaller(Request, kw_only=True):
    """The model itself made the call."""

    type: Literal["direct"]


class ToolUseBlock(Request, kw_only=True, tag_field="type", tag="tool_use"):
    """A call that an earlier answer made."""

    id: NonEmpty
    name: NonEmpty
    input: dict[str, Any]
    cache_control: Cached = None
    caller: Annotated[DirectCaller | None, NO_EFFECT] = None
    toolset_name: Annotated[None, Meta(description="Refused: there are no toolsets.")] = None


class ThinkingBlock(Request, kw_only=True, tag_field="type", tag="thinking"):
    """An earlier answer's thinking."""

    thinking: str
    signature: Annotated[
        str | None, Meta(description="Accepted without effect: nothing is signed.")
    ] = None


class RedactedThinkingBlock(Request, kw_only=True, tag_field="type", tag="redacted_thinking"):
    """Thinking that only who encrypted it can read; accepted without effect."""

    data: str


UserContent: TypeAlias = str | Annotated[list[TextBlock | ToolResultBlock], Meta(min_length=1)]
AssistantContent: TypeAlias = (
    str | list[TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock]
)
SystemContent: TypeAlias = str | list[PlainTextBlock]


class UserTurn(Request, kw_only=True, tag_field="role", tag="user"):
    """What the user says, and what tools answered."""

    content: UserContent


class AssistantTurn(Request, kw_only=True, tag_field="role", tag="assistant"):
    """An earlier answer, as a client got it; as the last message, the beginning of the answer."""

    content: AssistantContent


class SystemTurn(Request, kw_only=True, tag_field="role", tag="system"):
    """What the model is told about its task on the way."""

    content: SystemContent


Turn: TypeAlias = UserTurn | AssistantTurn | SystemTurn

# ── tools ───────────────────────────────────────────────────────────────────────────────────────


class CustomTool(Request, kw_only=True):
    """A tool of the client's; *input_schema* is a JSON Schema."""

    type: Literal["custom"] | None = None
    name: NonEmpty
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None
    allowed_callers: Annotated[
        list[Literal["direct"]] | None,
        Meta(description="Accepted as `direct`: only the model calls tools."),
    ] = None
    cache_control: Cached = None
    defer_loading: Annotated[
        bool | None, Meta(description="Accepted without effect: every tool is shown at once.")
    ] = None
    eager_input_streaming: Annotated[
        bool | None,
        Meta(description="Accepted without effect: inputs are streamed as they are written."),
    ] = None
    input_examples: Annotated[list[dict[str, Any]] | None, NO_EFFECT] = None


class AutoToolChoice(Request, kw_only=True, tag_field="type", tag="auto"):
    """The model may call tools."""

    disable_parallel_tool_use: bool | None = None


class AnyToolChoice(Request, kw_only=True, tag_field="type", tag="any"):
    """The model calls a tool, whichever it likes."""

    disable_parallel_tool_use: bool | None = None


class OneToolChoice(Request, kw_only=True, tag_field="type", tag="tool"):
    """The model calls the tool *name*."""

    name: NonEmpty
    disable_parallel_tool_use: bool | None = None


class NoToolChoice(Request, kw_only=True, tag_field="type", tag="none"):
    """The model does not see the tools."""


MessagesToolChoice: TypeAlias = AutoToolChoice | AnyToolChoice | OneToolChoice | NoToolChoice

# ── thinking and form ───────────────────────────────────────────────────────────────────────────

Display = Annotated[
    Literal["summarized", "omitted"] | None,
    Meta(description="`omitted` leaves the thinking's text out; `summarized` is all of it."),
]


class ThinkingEnabled(Request, kw_only=True, tag_field="type", tag="enabled"):
    """The model thinks, for no more than *budget_tokens*."""

    budget_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    display: Display = None


class ThinkingDisabled(Request, kw_only=True, tag_field="type", tag="disabled"):
    """The model does not think, where its template knows how to turn that off."""


class ThinkingAdaptive(Request, kw_only=True, tag_field="type", tag="adaptive"):
    """The model thinks as much as it likes."""

    display: Display = None


Thinking: TypeAlias = ThinkingEnabled | ThinkingDisabled | ThinkingAdaptive


class OutputFormat(Request, kw_only=True):
    """JSON that validates against *schema*."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(Request, kw_only=True):
    """How the answer is to be."""

    effort: Annotated[
        Literal["low", "medium", "high", "xhigh", "max"] | None,
        Meta(
            description=(
                "Where `thinking` sets no budget, ends it after 512, 2048 or 8192 tokens, with"
                " `xhigh` and `max` never; the chat template is told it."
            )
        ),
    ] = None
    format: OutputFormat | None = None


# ── request ─────────────────────────────────────────────────────────────────────────────────────


class CountTokensRequest(Request, kw_only=True):
    """What a prompt is made of."""

    model: Annotated[str, Meta(min_length=1, description="The model's name; case does not count.")]
    messages: Annotated[
        list[Turn], Meta(min_length=1, description="The conversation, oldest first.")
    ]
    system: Annotated[
        SystemContent | None, Meta(description="What the model is told about its task.")
    ] = None
    tools: Annotated[
        Annotated[list[CustomTool], Meta(max_length=1024)] | None,
        Meta(description="Tools that the model may call."),
    ] = None
    tool_choice: Annotated[
        MessagesToolChoice | None,
        Meta(
            description=(
                "`none` hides the tools from the model, `auto` leaves it to the model, `any` makes"
                " it call one, and `tool` the one that is named, which alone it is shown."
            )
        ),
    ] = None
    thinking: Annotated[
        Thinking | None,
        Meta(description="Whether the model thinks, and for how long; its template's if omitted."),
    ] = None
    output_config: Annotated[
        OutputConfig | None, Meta(description="The answer's effort, and its form.")
    ] = None
    cache_control: Cached = None
    speed: Annotated[Literal["standard"] | None, Meta(description="Accepted as `standard`.")] = None


class RequestMetadata(Request, kw_only=True):
    """Who asks."""

    user_id: Annotated[str | None, NO_EFFECT] = None


class MessagesRequest(CountTokensRequest, kw_only=True):
    """Anthropic's request for a message."""

    max_tokens: Annotated[
        int, Meta(ge=1, le=2**31 - 1, description="Most tokens of the answer, thinking included.")
    ]
    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=2)] | None,
        Meta(description="How freely tokens are drawn; 0 takes the likeliest. 1 if omitted."),
    ] = None
    top_p: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="Draw from the likeliest tokens of this total share. 0.95 if omitted."),
    ] = None
    top_k: Annotated[
        Annotated[int, Meta(ge=0, le=2**31 - 1)] | None,
        Meta(description="Draw from this many of the likeliest; 0 from all. 64 if omitted."),
    ] = None
    stop_sequences: Annotated[
        Annotated[list[NonEmpty], Meta(max_length=16)] | None,
        Meta(description="Texts that end the answer and are left out of it."),
    ] = None
    stream: Annotated[
        bool | None, Meta(description="Whether the answer comes as server-sent events.")
    ] = None
    metadata: RequestMetadata | None = None
    service_tier: Annotated[Literal["auto", "standard_only"] | None, NO_EFFECT] = None

    container: Annotated[None, Meta(description="Refused: nothing is executed.")] = None
    diagnostics: Annotated[None, Meta(description="Refused: no message is kept.")] = None
    inference_geo: Annotated[
        None, Meta(description="Refused: the server computes where it runs.")
    ] = None


# ── answer ──────────────────────────────────────────────────────────────────────────────────────

StopReason: TypeAlias = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"
]


class AnsweredTextBlock(Response, kw_only=True, tag_field="type", tag="text"):
    """Text of the answer."""

    text: str


class AnsweredThinkingBlock(Response, kw_only=True, tag_field="type", tag="thinking"):
    """The model's thinking; nothing is signed, so the signature is empty."""

    thinking: str
    signature: str = ""


class AnsweredToolUseBlock(Response, kw_only=True, tag_field="type", tag="tool_use"):
    """A call that the model makes; what is no JSON object is `{"INVALID_JSON": its text}`."""

    id: str
    name: str
    input: dict[str, Any]


AnsweredBlock: TypeAlias = AnsweredTextBlock | AnsweredThinkingBlock | AnsweredToolUseBlock


class OutputTokensDetails(Response, kw_only=True):
    """Of the answer's tokens, those that were spent on thinking."""

    thinking_tokens: int


class MessageUsage(Response, kw_only=True):
    """Tokens that the request took; the prompt's are the sum of the first three."""

    input_tokens: int
    """Those that were evaluated."""
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int
    """Those that a slot still held and that were not evaluated again."""
    output_tokens: int
    output_tokens_details: OutputTokensDetails


class AnsweredMessage(Response, kw_only=True):
    """A whole answer; at the start of a stream, an empty one."""

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


# ── stream ──────────────────────────────────────────────────────────────────────────────────────


class MessageStart(Response, kw_only=True, tag_field="type", tag="message_start"):
    """The answer begins."""

    message: AnsweredMessage


class ContentBlockStart(Response, kw_only=True, tag_field="type", tag="content_block_start"):
    """The block *index* begins; it is empty yet."""

    index: int
    content_block: AnsweredBlock


class TextDelta(Response, kw_only=True, tag_field="type", tag="text_delta"):
    """More text."""

    text: str


class ThinkingDelta(Response, kw_only=True, tag_field="type", tag="thinking_delta"):
    """More thinking."""

    thinking: str


class SignatureDelta(Response, kw_only=True, tag_field="type", tag="signature_delta"):
    """The thinking's signature, which is empty."""

    signature: str = ""


class InputJsonDelta(Response, kw_only=True, tag_field="type", tag="input_json_delta"):
    """More of the JSON text of a call's input."""

    partial_json: str


BlockDelta: TypeAlias = TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta


class ContentBlockDelta(Response, kw_only=True, tag_field="type", tag="content_block_delta"):
    """More of the block *index*."""

    index: int
    delta: BlockDelta


class ContentBlockStop(Response, kw_only=True, tag_field="type", tag="content_block_stop"):
    """The block *index* is whole."""

    index: int


class MessageEnding(Response, kw_only=True):
    """Why the answer ended."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(Response, kw_only=True, tag_field="type", tag="message_delta"):
    """How the answer ended, and what it took."""

    delta: MessageEnding
    usage: MessageUsage


class MessageStop(Response, kw_only=True, tag_field="type", tag="message_stop"):
    """The stream is whole."""


class Ping(Response, kw_only=True, tag_field="type", tag="ping"):
    """Says that the connection lives, while there is nothing else to say."""


MessageEvent: TypeAlias = (
    MessageStart
    | ContentBlockStart
    | ContentBlockDelta
    | ContentBlockStop
    | MessageDelta
    | MessageStop
)

# ── error ───────────────────────────────────────────────────────────────────────────────────────

MessagesErrorType: TypeAlias = Literal[
    "invalid_request_error",
    "authentication_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "api_error",
    "overloaded_error",
]


class MessagesErrorDetail(Response, kw_only=True):
    """Anthropic's type and message, and what this server knows beside them."""

    type: MessagesErrorType
    message: str
    param: str | None
    """The request's field at fault, such as `messages[2].content`."""
    code: str


class MessagesError(Response, kw_only=True, tag_field="type", tag="error"):
    """An error as Anthropic's clients expect it, as a body and as a stream's last event."""

    error: MessagesErrorDetail
    request_id: str | None
    """The same as in the header `request-id`; null outside of a request."""
