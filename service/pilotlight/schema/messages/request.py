"""A request for a message, and for the count of its tokens: Anthropic's.

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
    """What the tools of a request are."""

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
    """The model calls a tool, whichever it likes."""

    disable_parallel_tool_use: bool | None = None


class OneToolChoice(Request, kw_only=True, tag_field="type", tag="tool"):
    """The model calls the tool *name*."""

    name: NonEmpty
    disable_parallel_tool_use: bool | None = None


class NoToolChoice(Request, kw_only=True, tag_field="type", tag="none"):
    """The model does not see the tools."""


MessagesToolChoice: TypeAlias = AutoToolChoice | AnyToolChoice | OneToolChoice | NoToolChoice

Display = Annotated[
    Literal["summarized", "omitted", "updates"] | None,
    Meta(description="`omitted` leaves the thinking's text out; the others are all of it."),
]
Binding = Annotated[dict[str, Any] | None, accepted("nothing is signed")]


class ThinkingEnabled(Request, kw_only=True, tag_field="type", tag="enabled"):
    """The model thinks, for no more than *budget_tokens*."""

    budget_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    display: Display = None
    block_binding: Binding = None


class ThinkingDisabled(Request, kw_only=True, tag_field="type", tag="disabled"):
    """The model does not think, where its template knows how to turn that off."""


class ThinkingAdaptive(Request, kw_only=True, tag_field="type", tag="adaptive"):
    """The model thinks as much as it likes."""

    display: Display = None
    block_binding: Binding = None


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
    task_budget: Annotated[dict[str, Any] | None, accepted("`max_tokens` bounds the answer")] = None


class CreatedThread(Request, kw_only=True, tag_field="type", tag="create"):
    """Asks the server to keep the conversation; accepted without effect."""


class ContinuedThread(Request, kw_only=True, tag_field="type", tag="continue"):
    """A conversation that the server would have to keep; refused as `thread_not_found`."""

    previous_message_id: Any = None


Thread: TypeAlias = CreatedThread | ContinuedThread


class CountTokensRequest(Request, kw_only=True):
    """What a prompt is made of."""

    model: ModelName
    messages: Annotated[
        list[Turn], Meta(min_length=1, description="The conversation, oldest first.")
    ]
    system: Annotated[
        SystemContent | None, Meta(description="What the model is told about its task.")
    ] = None
    tools: Annotated[
        Annotated[list[MessagesTool], Meta(max_length=1024)] | None,
        Meta(description="Tools that the model may call; those of other types are skipped."),
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
                "Most tokens of the answer, thinking included. With 0 the prompt is evaluated, so"
                " that a slot holds it, and the answer is empty."
            ),
            extra=MAX_TOKENS_HINT,
        ),
    ]
    temperature: Temperature = None
    top_p: TopP = None
    top_k: TopK = None
    stop_sequences: Annotated[
        Annotated[list[NonEmpty], Meta(max_length=16)] | None,
        Meta(description="Texts that end the answer and are left out of it."),
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
