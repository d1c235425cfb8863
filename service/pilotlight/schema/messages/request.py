"""Anthropic's requests for a message, and for the number of its prompt's tokens.

A field typed `None` is one that Anthropic has and this server refuses; `schema/support.py` says
which fields are refused or have no effect, and why.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from pilotlight.schema.base import ModelName, NonEmpty, Request
from pilotlight.schema.declared import DeclaredTool, SkippedTool
from pilotlight.schema.messages.content import Cached, SystemContent, Turn
from pilotlight.schema.sampling import Stream, Temperature, TopK, TopP
from pilotlight.schema.support import (
    ANTHROPIC_VENDOR_TOOLS,
    MAX_TOKENS_HINT,
    MESSAGES,
    NO_EFFECT,
    accepted,
)


class MessagesTool(DeclaredTool):
    """An item of `tools`."""

    __slots__ = ()
    skipped_types = ANTHROPIC_VENDOR_TOOLS


class CustomTool(Request, MessagesTool, kw_only=True):
    """A tool of the client's; *input_schema* is a JSON Schema."""

    type: Literal["custom"] | None = None
    name: NonEmpty
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None
    allowed_callers: Annotated[
        list[str] | None,
        Meta(description="A tool that the model may not call by itself (`direct`) is not shown."),
    ] = None
    cache_control: Cached = None
    defer_loading: Annotated[bool | None, accepted("every tool is shown at once")] = None
    eager_input_streaming: Annotated[
        bool | None, accepted("inputs are streamed as they are written")
    ] = None
    input_examples: Annotated[list[dict[str, Any]] | None, NO_EFFECT] = None


class SkippedMessagesTool(SkippedTool, MessagesTool):
    """A tool that is skipped."""


MessagesTool.offered, MessagesTool.skipped = CustomTool, SkippedMessagesTool


class AutoToolChoice(Request, kw_only=True, tag_field="type", tag="auto"):
    """The model may call tools."""

    disable_parallel_tool_use: bool | None = None


class AnyToolChoice(Request, kw_only=True, tag_field="type", tag="any"):
    """The model must call a tool, any of them."""

    disable_parallel_tool_use: bool | None = None


class OneToolChoice(Request, kw_only=True, tag_field="type", tag="tool"):
    """The model must call the tool *name*."""

    name: NonEmpty
    disable_parallel_tool_use: bool | None = None


class NoToolChoice(Request, kw_only=True, tag_field="type", tag="none"):
    """The model does not see the tools."""


MessagesToolChoice: TypeAlias = AutoToolChoice | AnyToolChoice | OneToolChoice | NoToolChoice

Display = Annotated[
    Literal["summarized", "omitted", "updates"] | None,
    Meta(description="With `omitted` thinking blocks have no text; with the others all of it."),
]
Binding = Annotated[dict[str, Any] | None, accepted("nothing is signed")]


class ThinkingEnabled(Request, kw_only=True, tag_field="type", tag="enabled"):
    """The model thinks, for at most *budget_tokens*."""

    budget_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    display: Display = None
    block_binding: Binding = None


class ThinkingDisabled(Request, kw_only=True, tag_field="type", tag="disabled"):
    """The model does not think, if its chat template can switch that off."""


class ThinkingAdaptive(Request, kw_only=True, tag_field="type", tag="adaptive"):
    """The model thinks, without a limit."""

    display: Display = None
    block_binding: Binding = None


Thinking: TypeAlias = ThinkingEnabled | ThinkingDisabled | ThinkingAdaptive


class OutputFormat(Request, kw_only=True):
    """JSON that matches *schema*."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(Request, kw_only=True):
    """Effort and format of the response."""

    effort: Annotated[
        Literal["low", "medium", "high", "xhigh", "max"] | None,
        Meta(
            description=(
                "Limits thinking that has no budget: `low` to `high` to 512, 2048 or 8192 tokens,"
                " `xhigh` and `max` do not. The chat template gets the value too."
            )
        ),
    ] = None
    format: OutputFormat | None = None
    task_budget: Annotated[dict[str, Any] | None, accepted("`max_tokens` limits the response")] = (
        None
    )


class CreatedThread(Request, kw_only=True, tag_field="type", tag="create"):
    """Asks the server to keep the conversation; accepted without effect."""


class ContinuedThread(Request, kw_only=True, tag_field="type", tag="continue"):
    """A conversation that the server would have to keep; refused as `thread_not_found`."""

    previous_message_id: Any = None


Thread: TypeAlias = CreatedThread | ContinuedThread


class CountTokensRequest(Request, kw_only=True):
    """The parts of a prompt."""

    model: ModelName
    messages: Annotated[
        list[Turn], Meta(min_length=1, description="The conversation, oldest first.")
    ]
    system: Annotated[SystemContent | None, Meta(description="Instructions for the model.")] = None
    tools: Annotated[
        Annotated[list[MessagesTool], Meta(max_length=1024)] | None,
        Meta(description="Tools that the model may call; those of other types are skipped."),
    ] = None
    tool_choice: Annotated[
        MessagesToolChoice | None,
        Meta(
            description=(
                "`none`: no call, and the model does not see the tools. `auto`: the model decides."
                " `any`: the model must call. `tool`: the model must call this tool, and sees no"
                " other."
            )
        ),
    ] = None
    thinking: Annotated[
        Thinking | None,
        Meta(
            description="Whether the model thinks, and how long. If omitted, its template decides."
        ),
    ] = None
    output_config: Annotated[
        OutputConfig | None, Meta(description="Effort and format of the response.")
    ] = None
    cache_control: Cached = None

    billing_policy: Annotated[Any, MESSAGES["billing_policy"]] = None
    context_management: Annotated[Any, MESSAGES["context_management"]] = None
    mcp_servers: Annotated[Any, MESSAGES["mcp_servers"]] = None
    speed: Annotated[str | None, MESSAGES["speed"]] = None
    compaction: Annotated[None, MESSAGES["compaction"]] = None


class MessagesRequest(CountTokensRequest, kw_only=True):
    """Anthropic's request for a message."""

    max_tokens: Annotated[
        int,
        Meta(
            ge=0,
            le=2**31 - 1,
            description=(
                "Maximum tokens of the response, thinking included. With 0 the prompt is prefilled"
                " into a slot, and the response is empty."
            ),
            extra=MAX_TOKENS_HINT,
        ),
    ]
    temperature: Temperature = None
    top_p: TopP = None
    top_k: TopK = None
    stop_sequences: Annotated[
        Annotated[list[NonEmpty], Meta(max_length=16)] | None,
        Meta(description="Texts that end the output and are omitted from it."),
    ] = None
    stream: Stream = None

    thread: Annotated[
        Thread | None,
        Meta(
            description=(
                "`create` is accepted without effect; `continue` is a 404 `thread_not_found`, after"
                " which Anthropic's SDKs send the whole conversation."
            )
        ),
    ] = None

    diagnostics: Annotated[Any, MESSAGES["diagnostics"]] = None
    fallback_credit_token: Annotated[Any, MESSAGES["fallback_credit_token"]] = None
    fallbacks: Annotated[Any, MESSAGES["fallbacks"]] = None
    metadata: Annotated[dict[str, Any] | None, MESSAGES["metadata"]] = None
    service_tier: Annotated[str | None, MESSAGES["service_tier"]] = None
    container: Annotated[None, MESSAGES["container"]] = None
    inference_geo: Annotated[None, MESSAGES["inference_geo"]] = None
