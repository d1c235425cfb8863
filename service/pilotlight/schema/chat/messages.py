"""The messages of a conversation."""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from pilotlight.schema.base import NonEmpty, Request
from pilotlight.schema.support import CHAT_MESSAGES


class TextPart(Request, kw_only=True):
    """A piece of a message's text.

    Its type is a field and no tag: msgspec takes a tag that is missing for the right one where
    there is only one struct to choose.
    """

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: Annotated[Any, CHAT_MESSAGES["prompt_cache_breakpoint"]] = None
    cache_control: Annotated[Any, CHAT_MESSAGES["cache_control"]] = None


Content: TypeAlias = str | Annotated[list[TextPart], Meta(min_length=1)]


class AnsweredTextPart(Request, kw_only=True, tag_field="type", tag="text"):
    """A piece of an earlier answer's text."""

    text: str
    prompt_cache_breakpoint: Annotated[Any, CHAT_MESSAGES["prompt_cache_breakpoint"]] = None
    cache_control: Annotated[Any, CHAT_MESSAGES["cache_control"]] = None


class RefusalPart(Request, kw_only=True, tag_field="type", tag="refusal"):
    """An earlier answer's refusal; to the model it is text."""

    refusal: str


AnsweredContent: TypeAlias = (
    str | Annotated[list[AnsweredTextPart | RefusalPart], Meta(min_length=1)]
)


class SystemMessage(Request, kw_only=True, tag_field="role", tag="system"):
    """What the model is told about its task."""

    content: Content
    name: str | None = None
    cache_control: Annotated[Any, CHAT_MESSAGES["cache_control"]] = None


class DeveloperMessage(Request, kw_only=True, tag_field="role", tag="developer"):
    """OpenAI's newer name for a system message."""

    content: Content
    name: str | None = None
    cache_control: Annotated[Any, CHAT_MESSAGES["cache_control"]] = None


class UserMessage(Request, kw_only=True, tag_field="role", tag="user"):
    """What the user says."""

    content: Content
    name: str | None = None
    cache_control: Annotated[Any, CHAT_MESSAGES["cache_control"]] = None


class CalledFunction(Request, kw_only=True):
    """A function that the model called, with its arguments as JSON text."""

    name: NonEmpty
    arguments: str
    parsed_arguments: Annotated[Any, CHAT_MESSAGES["parsed_arguments"]] = None


class ToolCall(Request, kw_only=True):
    """A call that an earlier answer made."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"
    index: Annotated[int | None, CHAT_MESSAGES["index"]] = None


class AssistantMessage(Request, kw_only=True, tag_field="role", tag="assistant"):
    """An earlier answer, as a client got it; as the last message, the beginning of the answer."""

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
    cache_control: Annotated[Any, CHAT_MESSAGES["cache_control"]] = None
    provider_specific_fields: Annotated[Any, CHAT_MESSAGES["provider_specific_fields"]] = None
    thinking_blocks: Annotated[Any, CHAT_MESSAGES["thinking_blocks"]] = None
    audio: Annotated[None, CHAT_MESSAGES["audio"]] = None
    function_call: Annotated[None, CHAT_MESSAGES["function_call"]] = None


class ToolMessage(Request, kw_only=True, tag_field="role", tag="tool"):
    """What a tool answered."""

    content: Content
    tool_call_id: str
    name: Annotated[
        str | None, Meta(description="The tool's name, for chat templates that show it.")
    ] = None
    cache_control: Annotated[Any, CHAT_MESSAGES["cache_control"]] = None


Message: TypeAlias = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage
