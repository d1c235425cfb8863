"""The events of a streamed message."""

from typing import TypeAlias

from pilotlight.schema.base import Response
from pilotlight.schema.messages.response import (
    AnsweredBlock,
    AnsweredMessage,
    MessageUsage,
    StopReason,
)


class MessageStart(Response, kw_only=True, tag_field="type", tag="message_start"):
    """The message begins."""

    message: AnsweredMessage


class ContentBlockStart(Response, kw_only=True, tag_field="type", tag="content_block_start"):
    """The block *index* begins; it is still empty."""

    index: int
    content_block: AnsweredBlock


class TextDelta(Response, kw_only=True, tag_field="type", tag="text_delta"):
    """The next piece of a text."""

    text: str


class ThinkingDelta(Response, kw_only=True, tag_field="type", tag="thinking_delta"):
    """The next piece of the thinking."""

    thinking: str


class SignatureDelta(Response, kw_only=True, tag_field="type", tag="signature_delta"):
    """The thinking's signature, which is empty."""

    signature: str = ""


class InputJsonDelta(Response, kw_only=True, tag_field="type", tag="input_json_delta"):
    """The next piece of the JSON text of a call's input."""

    partial_json: str


BlockDelta: TypeAlias = TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta


class ContentBlockDelta(Response, kw_only=True, tag_field="type", tag="content_block_delta"):
    """The next piece of the block *index*."""

    index: int
    delta: BlockDelta


class ContentBlockStop(Response, kw_only=True, tag_field="type", tag="content_block_stop"):
    """The block *index* ends."""

    index: int


class MessageEnding(Response, kw_only=True):
    """The reason for the end."""

    stop_reason: StopReason
    stop_sequence: str | None


class MessageDelta(Response, kw_only=True, tag_field="type", tag="message_delta"):
    """The reason for the end, and the usage."""

    delta: MessageEnding
    usage: MessageUsage


class MessageStop(Response, kw_only=True, tag_field="type", tag="message_stop"):
    """The last event of a stream."""


class Ping(Response, kw_only=True, tag_field="type", tag="ping"):
    """Keeps an idle connection alive."""


MessageEvent: TypeAlias = (
    MessageStart
    | ContentBlockStart
    | ContentBlockDelta
    | ContentBlockStop
    | MessageDelta
    | MessageStop
)
