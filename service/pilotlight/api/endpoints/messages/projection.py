"""A whole message of Anthropic's from the events of a generation."""

import secrets
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from msgspec import Struct

from pilotlight.api.http.whole_response import collect
from pilotlight.generation import Ended, Events
from pilotlight.observability.timing import Phases
from pilotlight.output.events import (
    OutputEvent,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from pilotlight.schema.messages.events import MessageEnding
from pilotlight.schema.messages.response import (
    AnsweredBlock,
    AnsweredMessage,
    AnsweredTextBlock,
    AnsweredThinkingBlock,
    AnsweredToolUseBlock,
    MessageUsage,
    OutputTokensDetails,
    StopReason,
)
from pilotlight_backend import Usage

_object = msgspec.json.Decoder(dict[str, Any])


class MessageOptions(Struct, frozen=True):
    """Fields of a request that its response depends on."""

    max_tokens: int
    shows_thinking: bool = True


def new_id() -> str:
    """Return a message's id."""
    return f"msg_{secrets.token_hex(12)}"


def usage_of(usage: Usage, reasoning_tokens: int) -> MessageUsage:
    """Return *usage* as Anthropic counts: `input_tokens` are without cached ones."""
    return MessageUsage(
        input_tokens=usage.prompt_tokens - usage.cached_tokens,
        cache_read_input_tokens=usage.cached_tokens,
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputTokensDetails(thinking_tokens=reasoning_tokens),
    )


def ending_of(ended: Ended, options: MessageOptions) -> MessageEnding:
    """Return the stop reason, by Anthropic's names."""
    reason: StopReason = "end_turn"
    if ended.stop is not None:
        reason = "stop_sequence"
    elif ended.reason == "tool_calls":
        reason = "tool_use"
    elif ended.reason == "length":
        whole = ended.usage.completion_tokens >= options.max_tokens
        reason = "max_tokens" if whole else "model_context_window_exceeded"
    return MessageEnding(stop_reason=reason, stop_sequence=ended.stop)


def input_of(text: str) -> dict[str, Any]:
    """Return a call's input, which clients expect to be an object.

    Other text is put into an object, as Anthropic advises for invalid JSON.
    """
    try:
        return _object.decode(text.strip() or "{}")
    except (msgspec.DecodeError, RecursionError):
        return {"INVALID_JSON": text}


class _BlockDrafts:
    """The blocks of a message as it grows, in the order of the model's output."""

    def __init__(self, *, shows_thinking: bool) -> None:
        self._shows_thinking = shows_thinking
        self._blocks: list[tuple[OutputEvent, list[str]]] = []
        """Each with the event that it began with."""

    def add(self, event: OutputEvent) -> None:
        if not self._blocks or begins_block(event, self._blocks[-1][0]):
            self._blocks.append((event, []))
        if not isinstance(event, ToolCallStart):
            self._blocks[-1][1].append(event.text)

    def blocks(self) -> list[AnsweredBlock]:
        return [self._block(first, "".join(texts)) for first, texts in self._blocks]

    def _block(self, first: OutputEvent, text: str) -> AnsweredBlock:
        match first:
            case ReasoningDelta():
                return AnsweredThinkingBlock(thinking=text if self._shows_thinking else "")
            case ToolCallStart():
                return AnsweredToolUseBlock(id=first.id, name=first.name, input=input_of(text))
            case _:
                return AnsweredTextBlock(text=text)


def begins_block(event: OutputEvent, block: OutputEvent) -> bool:
    """Return whether *event* begins_block another block than the one that *block* began."""
    if isinstance(event, ToolCallArguments):
        return False  # they follow their call at once
    return isinstance(event, ToolCallStart) or type(event) is not type(block)


async def fold(
    generation: AsyncGenerator[Events], options: MessageOptions
) -> tuple[AnsweredMessage, Phases | None]:
    """Return the message of *generation*, and the timing of a cold start."""
    content = _BlockDrafts(shows_thinking=options.shows_thinking)
    whole = await collect(generation, lambda _, event: content.add(event))
    ended = whole.endings[0]
    ending = ending_of(ended, options)
    message = AnsweredMessage(
        id=new_id(),
        model=whole.begun.model,
        content=content.blocks(),
        stop_reason=ending.stop_reason,
        stop_sequence=ending.stop_sequence,
        usage=usage_of(ended.usage, ended.reasoning_tokens),
    )
    return message, whole.timing
