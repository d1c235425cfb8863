"""A message as a stream of Anthropic's events."""

from collections.abc import Iterator

import msgspec

from pilotlight.api.endpoints.messages.projection import (
    MessageOptions,
    begins_block,
    ending_of,
    input_of,
    new_id,
    usage_of,
)
from pilotlight.api.http import sse
from pilotlight.api.http.error_bodies import ANTHROPIC
from pilotlight.api.http.errors import error_body
from pilotlight.errors import ServiceError
from pilotlight.generation import Begun, Ended, Events, FirstToken, GenerationEvent
from pilotlight.output.events import (
    ContentDelta,
    OutputEvent,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from pilotlight.schema.messages.error import MessagesError
from pilotlight.schema.messages.events import (
    BlockDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    InputJsonDelta,
    MessageDelta,
    MessageEvent,
    MessageStart,
    MessageStop,
    Ping,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from pilotlight.schema.messages.response import (
    AnsweredBlock,
    AnsweredMessage,
    AnsweredTextBlock,
    AnsweredThinkingBlock,
    AnsweredToolUseBlock,
)
from pilotlight_backend import Usage


def _encode(event: MessageEvent | MessagesError | Ping) -> bytes:
    return sse.encode_named(str(event.__struct_config__.tag), event)


class MessagesProjection:
    """Encodes one stream."""

    ping = _encode(Ping())
    loading = None

    def __init__(self, options: MessageOptions) -> None:
        self._events = MessageEvents(options)

    def encode(self, events: Events) -> bytes:
        """Return the stream's events for *events*."""
        return b"".join(_encode(one) for _, event in events for one in self._events.of(event))

    def fail(self, error: ServiceError) -> bytes:
        """Return the error, which is the last event."""
        return _encode(error_body(error, ANTHROPIC))

    def end(self) -> bytes:
        """Return nothing: `message_stop` is sent with the end of the message."""
        return b""


class MessageEvents:
    """Turns the events of a generation into a message's; blocks follow each other."""

    def __init__(self, options: MessageOptions) -> None:
        self._options = options
        self._index = -1
        """The current block."""
        self._block: OutputEvent | None = None
        """Its first event; None before the first block."""
        self._passes = False
        """Whether the arguments of the current call are an object."""
        self._held = ""
        """Its arguments until that is known; all of them if they are not an object."""

    def of(self, event: GenerationEvent) -> Iterator[MessageEvent]:
        """Yield the stream's events for *event*."""
        match event:
            case Begun():
                yield _start(event)
            case FirstToken():
                pass
            case Ended():
                yield from self._end()
                usage = usage_of(event.usage, event.reasoning_tokens)
                yield MessageDelta(delta=ending_of(event, self._options), usage=usage)
                yield MessageStop()
            case _:
                if self._block is None or begins_block(event, self._block):
                    yield from self._end()
                    yield self._begin(event)
                yield from self._continue(event)

    def _begin(self, event: OutputEvent) -> MessageEvent:
        self._index += 1
        self._block, self._passes, self._held = event, False, ""
        return ContentBlockStart(index=self._index, content_block=_empty(event))

    def _continue(self, event: OutputEvent) -> Iterator[MessageEvent]:
        match event:
            case ContentDelta():
                yield self._delta(TextDelta(text=event.text))
            case ReasoningDelta() if self._options.shows_thinking:
                yield self._delta(ThinkingDelta(thinking=event.text))
            case ToolCallArguments():
                # An object's text is sent as it arrives; another value is put into an object.
                self._held += event.text
                self._passes = self._passes or self._held.lstrip().startswith("{")
                if self._passes:
                    yield self._delta(InputJsonDelta(partial_json=self._held))
                    self._held = ""

    def _end(self) -> Iterator[MessageEvent]:
        """Yield the end of the current block, if there is one."""
        if self._block is None:
            return
        if isinstance(self._block, ReasoningDelta):
            yield self._delta(SignatureDelta())
        if self._held.strip():
            json = msgspec.json.encode(input_of(self._held)).decode()
            yield self._delta(InputJsonDelta(partial_json=json))
        yield ContentBlockStop(index=self._index)
        self._block = None

    def _delta(self, delta: BlockDelta) -> MessageEvent:
        return ContentBlockDelta(index=self._index, delta=delta)


def _start(begun: Begun) -> MessageEvent:
    usage = Usage(
        prompt_tokens=begun.prompt_tokens, completion_tokens=0, cached_tokens=begun.cached_tokens
    )
    return MessageStart(
        message=AnsweredMessage(
            id=new_id(),
            model=begun.model,
            content=[],
            stop_reason=None,
            stop_sequence=None,
            usage=usage_of(usage, 0),
        )
    )


def _empty(event: OutputEvent) -> AnsweredBlock:
    match event:
        case ReasoningDelta():
            return AnsweredThinkingBlock(thinking="")
        case ToolCallStart():
            return AnsweredToolUseBlock(id=event.id, name=event.name, input={})
        case _:
            return AnsweredTextBlock(text="")
