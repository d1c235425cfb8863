"""A request for a message, and for the count of its tokens: Anthropic's.

A field typed `None` is one that Anthropic has and this server refuses; a field without effect is
accepted for its clients' sake. Their descriptions say so in the document.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from pilotlight.schema.base import NO_EFFECT, NonEmpty, Request
from pilotlight.schema.messages.conversation import Cached, SystemContent, Turn


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
