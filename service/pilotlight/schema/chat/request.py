"""OpenAI's request for a chat completion, with additions.

A field typed `None` is one that OpenAI has and this server refuses; `schema/support.py` says which
fields are refused or have no effect, and why.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from pilotlight.schema.base import NonEmpty, Request
from pilotlight.schema.chat.messages import Message
from pilotlight.schema.declared import TOOL_CHOICE, TOOLS, DeclaredTool, SkippedTool
from pilotlight.schema.openai import TextFormat
from pilotlight.schema.sampling import SamplingRequest
from pilotlight.schema.support import CHAT, CHAT_MESSAGES, CHAT_VENDOR_TOOLS, MAX_TOKENS_HINT


class FunctionDefinition(Request, kw_only=True):
    """A function the model may call; *parameters* is a JSON Schema."""

    name: NonEmpty
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ChatTool(DeclaredTool):
    """An item of `tools` in a chat request."""

    __slots__ = ()
    skipped_types = CHAT_VENDOR_TOOLS


class Tool(Request, ChatTool, kw_only=True):
    """A tool the model may use."""

    function: FunctionDefinition
    type: Literal["function"]
    cache_control: Annotated[Any, CHAT_MESSAGES["cache_control"]] = None


class SkippedChatTool(SkippedTool, ChatTool):
    """A tool that is skipped."""


ChatTool.offered, ChatTool.skipped = Tool, SkippedChatTool


class JsonObjectFormat(Request, kw_only=True, tag_field="type", tag="json_object"):
    """Any JSON object, or one that matches *schema*, as llama-server has it."""

    schema: dict[str, Any] | None = None


class JsonSchema(Request, kw_only=True):
    """A JSON Schema; the content always matches it, *strict* or not."""

    name: NonEmpty
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class JsonSchemaFormat(Request, kw_only=True, tag_field="type", tag="json_schema"):
    """JSON that matches a schema."""

    json_schema: JsonSchema


ResponseFormat: TypeAlias = TextFormat | JsonObjectFormat | JsonSchemaFormat


class FunctionName(Request, kw_only=True):
    """A function of the request's tools."""

    name: NonEmpty


class NamedToolChoice(Request, kw_only=True, tag_field="type", tag="function"):
    """The model calls this function."""

    function: FunctionName


class ChatAllowance(DeclaredTool):
    """An item of `allowed_tools`."""

    __slots__ = ()
    skipped_types = CHAT_VENDOR_TOOLS


class AllowedTool(Request, ChatAllowance, kw_only=True):
    """One of the tools that may be called."""

    function: FunctionName
    type: Literal["function"]


class SkippedChatAllowance(SkippedTool, ChatAllowance):
    """One of the tools that are skipped."""


ChatAllowance.offered, ChatAllowance.skipped = AllowedTool, SkippedChatAllowance


class AllowedTools(Request, kw_only=True):
    """The tools that may be called, of all that the request lists."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[ChatAllowance], Meta(min_length=1)]


class AllowedToolsChoice(Request, kw_only=True, tag_field="type", tag="allowed_tools"):
    """The model may call, or must call, one of some tools."""

    allowed_tools: AllowedTools


ToolChoice: TypeAlias = Literal["none", "auto", "required"] | NamedToolChoice | AllowedToolsChoice


class ChatCompletionRequest(SamplingRequest, kw_only=True):
    """OpenAI's chat request, with some fields of llama-server's and vLLM's."""

    messages: Annotated[
        list[Message], Meta(min_length=1, description="The conversation, oldest first.")
    ]

    max_completion_tokens: Annotated[
        Annotated[int, Meta(ge=1, le=2**31 - 1)] | None,
        Meta(
            description="Maximum tokens of a choice, reasoning included. `default_max_tokens` if"
            " omitted, a setting of the server: 2048.",
            extra=MAX_TOKENS_HINT,
        ),
    ] = None
    max_tokens: Annotated[
        Annotated[int, Meta(ge=1, le=2**31 - 1)] | None,
        Meta(
            description="The older name of `max_completion_tokens`, which wins.",
            extra=MAX_TOKENS_HINT,
        ),
    ] = None
    logprobs: Annotated[
        bool | None,
        Meta(description="Whether to return the log probabilities of the content's tokens."),
    ] = None
    top_logprobs: Annotated[
        Annotated[int, Meta(ge=0, le=20)] | None,
        Meta(description="With `logprobs`: how many of the likeliest tokens to return for each."),
    ] = None

    tools: Annotated[
        Annotated[list[ChatTool], Meta(max_length=128)] | None,
        TOOLS,
    ] = None
    tool_choice: Annotated[ToolChoice | None, TOOL_CHOICE] = None
    parallel_tool_calls: Annotated[
        bool | None,
        Meta(description="Whether a choice may have several calls. True if omitted."),
    ] = None
    add_generation_prompt: Annotated[
        bool | None,
        Meta(
            description=(
                "Whether the prompt ends with the beginning of the assistant's turn. True if"
                " omitted, unless `continue_final_message` is true."
            )
        ),
    ] = None
    continue_final_message: Annotated[
        bool | None,
        Meta(
            description=(
                "Whether a last assistant message is continued (assistant prefill). True if"
                " omitted, unless `add_generation_prompt` is false."
            )
        ),
    ] = None
    reasoning_effort: Annotated[
        Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None,
        Meta(
            description=(
                "`none` switches reasoning off. `minimal` to `high` limit it to 128, 512, 2048 or"
                " 8192 tokens, `xhigh` and `max` do not. The chat template gets the value too."
            )
        ),
    ] = None
    chat_template_kwargs: Annotated[
        dict[str, Any] | None, Meta(description="Variables for the model's chat template.")
    ] = None
    response_format: Annotated[
        ResponseFormat | None,
        Meta(description="Structured output: text, a JSON object, or JSON that matches a schema."),
    ] = None
    guided_json: Annotated[
        dict[str, Any] | bool | None,
        Meta(description="A JSON Schema that the content matches."),
    ] = None
    guided_regex: Annotated[
        NonEmpty | None, Meta(description="A regular expression of the whole content.")
    ] = None
    guided_choice: Annotated[
        Annotated[list[NonEmpty], Meta(min_length=1, max_length=1024)] | None,
        Meta(description="Texts, one of which is the content."),
    ] = None
    grammar: Annotated[
        NonEmpty | None,
        Meta(description="A grammar of the content, in Lark's notation or llama.cpp's GBNF."),
    ] = None

    modalities: Annotated[
        list[Literal["text"]] | None, Meta(description="Accepted as `text`: responses are text.")
    ] = None

    metadata: Annotated[Any, CHAT["metadata"]] = None
    models: Annotated[Any, CHAT["models"]] = None
    prediction: Annotated[Any, CHAT["prediction"]] = None
    provider: Annotated[Any, CHAT["provider"]] = None
    prompt_cache_key: Annotated[str | None, CHAT["prompt_cache_key"]] = None
    prompt_cache_options: Annotated[Any, CHAT["prompt_cache_options"]] = None
    prompt_cache_retention: Annotated[str | None, CHAT["prompt_cache_retention"]] = None
    route: Annotated[Any, CHAT["route"]] = None
    safety_identifier: Annotated[str | None, CHAT["safety_identifier"]] = None
    service_tier: Annotated[str | None, CHAT["service_tier"]] = None
    store: Annotated[bool | None, CHAT["store"]] = None
    transforms: Annotated[Any, CHAT["transforms"]] = None
    usage: Annotated[Any, CHAT["usage"]] = None
    user: Annotated[str | None, CHAT["user"]] = None
    verbosity: Annotated[str | None, CHAT["verbosity"]] = None
    web_search_options: Annotated[Any, CHAT["web_search_options"]] = None

    audio: Annotated[None, CHAT["audio"]] = None
    function_call: Annotated[None, CHAT["function_call"]] = None
    functions: Annotated[None, CHAT["functions"]] = None
    moderation: Annotated[None, CHAT["moderation"]] = None
