"""The messages of a conversation."""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from msgspec import Meta

from pilotlight.schema.base import NonEmpty, Request
from pilotlight.schema.images import IMAGE_DETAIL, IMAGE_URL, ImageDetail
from pilotlight.schema.openai import RefusalPart
from pilotlight.schema.support import CHAT_MESSAGES


class TextPart(Request, kw_only=True):
    """A piece of a message's text."""

    # A field and no tag: msgspec takes a tag that is missing for the right one where there is only
    # one struct to choose.
    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: Annotated[Any, CHAT_MESSAGES["prompt_cache_breakpoint"]] = None
    cache_control: Annotated[Any, CHAT_MESSAGES["cache_control"]] = None


Content: TypeAlias = str | Annotated[list[TextPart], Meta(min_length=1)]


class ImageUrl(Request, kw_only=True):
    """Where an image is, and how closely the model looks at it."""

    url: Annotated[NonEmpty, IMAGE_URL]
    detail: Annotated[ImageDetail | None, IMAGE_DETAIL] = None


class TaggedTextPart(Request, kw_only=True, tag_field="type", tag="text"):
    """A `TextPart` beside parts of other types, among which msgspec chooses by their tag."""

    documented_as: ClassVar[str | None] = "TextPart"

    text: str
    prompt_cache_breakpoint: Annotated[Any, CHAT_MESSAGES["prompt_cache_breakpoint"]] = None
    cache_control: Annotated[Any, CHAT_MESSAGES["cache_control"]] = None


class ImagePart(Request, kw_only=True, tag_field="type", tag="image_url"):
    """An image."""

    image_url: Annotated[ImageUrl | NonEmpty, Meta(description="Its URL alone is accepted too.")]
    prompt_cache_breakpoint: Annotated[Any, CHAT_MESSAGES["prompt_cache_breakpoint"]] = None
    cache_control: Annotated[Any, CHAT_MESSAGES["cache_control"]] = None


ShownContent: TypeAlias = str | Annotated[list[TaggedTextPart | ImagePart], Meta(min_length=1)]


class Kept(Request, kw_only=True):
    """Fields that clients add to each message of a conversation."""

    id: Annotated[Any, CHAT_MESSAGES["id"]] = None
    metadata: Annotated[Any, CHAT_MESSAGES["metadata"]] = None
    cache_control: Annotated[Any, CHAT_MESSAGES["cache_control"]] = None


class ThinkingPart(Request, kw_only=True, tag_field="type", tag="thinking"):
    """Reasoning of an earlier response, in Anthropic's form; `reasoning_content` wins."""

    thinking: str | list[TextPart]
    signature: Annotated[Any, CHAT_MESSAGES["signature"]] = None
    closed: Annotated[Any, CHAT_MESSAGES["closed"]] = None


AnsweredContent: TypeAlias = str | list[TaggedTextPart | RefusalPart | ThinkingPart]


class SystemMessage(Kept, kw_only=True, tag_field="role", tag="system"):
    """Instructions for the model."""

    content: Content
    name: str | None = None


class DeveloperMessage(Kept, kw_only=True, tag_field="role", tag="developer"):
    """OpenAI's newer name for a system message."""

    content: Content
    name: str | None = None


class UserMessage(Kept, kw_only=True, tag_field="role", tag="user"):
    """A message of the user's: text and images."""

    content: ShownContent
    name: str | None = None


class CalledFunction(Request, kw_only=True):
    """A function that the model called, with its arguments as JSON text."""

    name: NonEmpty
    arguments: Annotated[
        str | dict[str, Any] | None,
        Meta(description="JSON text, or the object itself; `{}` if null."),
    ]
    parsed_arguments: Annotated[Any, CHAT_MESSAGES["parsed_arguments"]] = None


class ToolCall(Request, kw_only=True):
    """A call of an earlier response."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"
    index: Annotated[int | None, CHAT_MESSAGES["index"]] = None
    extra_content: Annotated[Any, CHAT_MESSAGES["extra_content"]] = None
    provider_specific_fields: Annotated[Any, CHAT_MESSAGES["provider_specific_fields"]] = None


class AssistantMessage(Kept, kw_only=True, tag_field="role", tag="assistant"):
    """An earlier response, as a client got it; as the last message, the assistant prefill."""

    content: AnsweredContent | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None
    reasoning: Annotated[
        str | None, Meta(description="vLLM's name of `reasoning_content`, which wins.")
    ] = None
    refusal: str | None = None
    annotations: Annotated[Any, CHAT_MESSAGES["annotations"]] = None
    logprobs: Annotated[Any, CHAT_MESSAGES["logprobs"]] = None
    parsed: Annotated[Any, CHAT_MESSAGES["parsed"]] = None
    reasoning_details: Annotated[Any, CHAT_MESSAGES["reasoning_details"]] = None
    provider_specific_fields: Annotated[Any, CHAT_MESSAGES["provider_specific_fields"]] = None
    thinking_blocks: Annotated[Any, CHAT_MESSAGES["thinking_blocks"]] = None
    extra_content: Annotated[Any, CHAT_MESSAGES["extra_content"]] = None
    finish_reason: Annotated[Any, CHAT_MESSAGES["finish_reason"]] = None
    reasoning_opaque: Annotated[Any, CHAT_MESSAGES["reasoning_opaque"]] = None
    reasoning_text: Annotated[Any, CHAT_MESSAGES["reasoning_text"]] = None
    partial: Annotated[bool | None, CHAT_MESSAGES["partial"]] = None
    prefix: Annotated[bool | None, CHAT_MESSAGES["prefix"]] = None
    audio: Annotated[None, CHAT_MESSAGES["audio"]] = None
    function_call: Annotated[None, CHAT_MESSAGES["function_call"]] = None


class ToolMessage(Kept, kw_only=True, tag_field="role", tag="tool"):
    """The result of a tool call."""

    content: Annotated[
        str | list[TaggedTextPart | ImagePart] | None,
        Meta(description="The result; null is an empty one."),
    ]
    tool_call_id: str
    name: Annotated[
        str | None, Meta(description="The tool's name, for chat templates that show it.")
    ] = None


Message: TypeAlias = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage
