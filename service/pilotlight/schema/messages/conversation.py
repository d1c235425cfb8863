"""The turns of a conversation, and the blocks that they are made of."""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta

from pilotlight.schema.base import NO_EFFECT, NonEmpty, Request


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
