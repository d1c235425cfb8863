"""OpenAI's request for a response, with some fields of llama-server's and vLLM's.

A field typed `None` is one that OpenAI has and this server refuses; `schema/support.py` says which
fields are refused or have no effect, and why.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from pilotlight.schema.base import ModelName, NonEmpty, Request
from pilotlight.schema.declared import TOOL_CHOICE, TOOLS, DeclaredTool, SkippedTool
from pilotlight.schema.openai import TextFormat
from pilotlight.schema.responses.input import InputItem
from pilotlight.schema.responses.tools import ResponseTool
from pilotlight.schema.sampling import CacheSalt, MinP, Stream, Temperature, TopK, TopP
from pilotlight.schema.support import (
    MAX_TOKENS_HINT,
    NO_EFFECT,
    OPENAI_VENDOR_TOOLS,
    RESPONSES,
    accepted,
)


class FunctionToolChoice(Request, kw_only=True, tag_field="type", tag="function"):
    """The model calls this function."""

    name: NonEmpty


class ResponseAllowance(DeclaredTool):
    """An item of `allowed_tools`."""

    __slots__ = ()
    skipped_types = OPENAI_VENDOR_TOOLS


class AllowedFunction(Request, ResponseAllowance, kw_only=True):
    """One of the functions that may be called."""

    type: Literal["function"]
    name: NonEmpty


class SkippedResponseAllowance(SkippedTool, ResponseAllowance):
    """One of the tools that are skipped."""


ResponseAllowance.offered, ResponseAllowance.skipped = AllowedFunction, SkippedResponseAllowance


class AllowedFunctionsChoice(Request, kw_only=True, tag_field="type", tag="allowed_tools"):
    """The model may call, or must call, one of some functions."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[ResponseAllowance], Meta(min_length=1)]


ResponseToolChoice: TypeAlias = (
    Literal["none", "auto", "required"] | FunctionToolChoice | AllowedFunctionsChoice
)


class ResponseJsonObjectFormat(Request, kw_only=True, tag_field="type", tag="json_object"):
    """Any JSON object."""


class ResponseJsonSchemaFormat(Request, kw_only=True, tag_field="type", tag="json_schema"):
    """JSON that matches *schema*, *strict* or not."""

    name: NonEmpty
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


ResponseTextFormat: TypeAlias = TextFormat | ResponseJsonObjectFormat | ResponseJsonSchemaFormat


class ResponseTextConfig(Request, kw_only=True):
    """Format of the output's text."""

    format: Annotated[
        ResponseTextFormat | None,
        Meta(description="Structured output: text, a JSON object, or JSON that matches a schema."),
    ] = None
    verbosity: Annotated[Literal["low", "medium", "high"] | None, NO_EFFECT] = None


Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

Summary: TypeAlias = Literal["auto", "concise", "detailed"]


class ReasoningConfig(Request, kw_only=True):
    """Options of the model's reasoning."""

    effort: Annotated[
        Effort | None,
        Meta(
            description=(
                "`none` switches reasoning off. `minimal` to `high` limit it to 128, 512, 2048 or"
                " 8192 tokens, `xhigh` and `max` do not. The chat template gets the value too."
            )
        ),
    ] = None
    summary: Annotated[Summary | None, accepted("the whole reasoning is returned")] = None
    generate_summary: Annotated[Summary | None, NO_EFFECT] = None
    context: Annotated[str | None, accepted("the chat template decides")] = None
    mode: Annotated[str | None, NO_EFFECT] = None


class ResponseStreamOptions(Request, kw_only=True):
    """Options of a stream."""

    include_obfuscation: Annotated[bool | None, NO_EFFECT] = None


Includable: TypeAlias = Literal[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
]


class ResponseRequest(Request, kw_only=True):
    """OpenAI's request for a response, with some fields of llama-server's and vLLM's."""

    model: ModelName
    input: Annotated[
        str | Annotated[list[InputItem], Meta(min_length=1)],
        Meta(
            description="A message of the user's, or the items of the conversation, oldest first."
        ),
    ]
    instructions: Annotated[
        str | None,
        Meta(description="A system message, before those at the beginning of the input."),
    ] = None

    temperature: Temperature = None
    top_p: TopP = None
    top_k: TopK = None
    min_p: MinP = None
    max_output_tokens: Annotated[
        Annotated[int, Meta(ge=1, le=2**31 - 1)] | None,
        Meta(
            description="Maximum tokens of the output, reasoning included. `default_max_tokens` if"
            " omitted, a setting of the server: 2048.",
            extra=MAX_TOKENS_HINT,
        ),
    ] = None

    include: Annotated[
        list[Includable] | None,
        Meta(
            description=(
                "`message.output_text.logprobs` returns the log probabilities of the text's tokens."
                " The others have no effect."
            )
        ),
    ] = None
    top_logprobs: Annotated[
        Annotated[int, Meta(ge=0, le=20)] | None,
        Meta(
            description=(
                "How many of the likeliest tokens to return for each token, if `include` asks for"
                " log probabilities."
            )
        ),
    ] = None
    stream: Stream = None
    stream_options: ResponseStreamOptions | None = None

    tools: Annotated[
        Annotated[list[ResponseTool], Meta(max_length=128)] | None,
        TOOLS,
    ] = None
    tool_choice: Annotated[ResponseToolChoice | None, TOOL_CHOICE] = None
    parallel_tool_calls: Annotated[
        bool | None,
        Meta(description="Whether a response may have several calls. True if omitted."),
    ] = None
    reasoning: Annotated[
        ReasoningConfig | None, Meta(description="Options of the model's reasoning.")
    ] = None
    text: Annotated[ResponseTextConfig | None, Meta(description="Format of the output's text.")] = (
        None
    )
    chat_template_kwargs: Annotated[
        dict[str, Any] | None, Meta(description="Variables for the model's chat template.")
    ] = None

    metadata: Annotated[
        Annotated[
            dict[
                Annotated[str, Meta(max_length=64)],
                Annotated[str, Meta(max_length=512)],
            ],
            Meta(max_length=16),
        ]
        | None,
        Meta(description="Returned in the response as it is."),
    ] = None
    access_programs: Annotated[Any, RESPONSES["access_programs"]] = None
    client_metadata: Annotated[Any, RESPONSES["client_metadata"]] = None
    context_management: Annotated[Any, RESPONSES["context_management"]] = None
    image: Annotated[Any, RESPONSES["image"]] = None
    max_tool_calls: Annotated[int | None, RESPONSES["max_tool_calls"]] = None
    cache_salt: CacheSalt = None
    prompt_cache_key: Annotated[str | None, RESPONSES["prompt_cache_key"]] = None
    prompt_cache_options: Annotated[Any, RESPONSES["prompt_cache_options"]] = None
    prompt_cache_retention: Annotated[str | None, RESPONSES["prompt_cache_retention"]] = None
    safety_identifier: Annotated[str | None, RESPONSES["safety_identifier"]] = None
    service_tier: Annotated[str | None, RESPONSES["service_tier"]] = None
    store: Annotated[bool | None, RESPONSES["store"]] = None
    truncation: Annotated[str | None, RESPONSES["truncation"]] = None
    user: Annotated[str | None, RESPONSES["user"]] = None

    background: Annotated[
        bool | None,
        Meta(
            description=(
                "`true` is refused: no response is stored, so a client has to wait for it."
            ),
            extra_json_schema={"not": {"const": True}},
        ),
    ] = None
    previous_response_id: Annotated[
        Any,
        Meta(
            description=(
                "Refused as `previous_response_not_found`: no response is stored; send the whole"
                " conversation as `input`."
            ),
            extra_json_schema={"type": "null"},
        ),
    ] = None
    background_options: Annotated[None, RESPONSES["background_options"]] = None
    conversation: Annotated[None, RESPONSES["conversation"]] = None
    moderation: Annotated[None, RESPONSES["moderation"]] = None
    prompt: Annotated[None, RESPONSES["prompt"]] = None
