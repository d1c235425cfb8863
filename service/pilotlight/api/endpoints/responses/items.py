"""Items of a response as they grow, reasoning, messages and calls, and their stream events."""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, TypeAlias

from pilotlight.api.endpoints.openai import finite, text_of
from pilotlight.output.events import (
    ContentDelta,
    OutputEvent,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from pilotlight.schema.responses.events import (
    ContentPartAddedEvent,
    ContentPartDoneEvent,
    DeltaLogprob,
    DeltaTopLogprob,
    FunctionCallArgumentsDeltaEvent,
    FunctionCallArgumentsDoneEvent,
    OutputItemAddedEvent,
    OutputItemDoneEvent,
    OutputTextDeltaEvent,
    OutputTextDoneEvent,
    ReasoningTextDeltaEvent,
    ReasoningTextDoneEvent,
    ResponseStreamEvent,
)
from pilotlight.schema.responses.input import ItemStatus
from pilotlight.schema.responses.response import (
    OutputFunctionCall,
    OutputItem,
    OutputLogprob,
    OutputMessage,
    OutputReasoning,
    OutputText,
    OutputTopLogprob,
    ReasoningText,
)
from pilotlight_backend import Candidate, Token

Numbers: TypeAlias = Iterator[int]
"""Counts a stream's events."""
StreamEvents: TypeAlias = Sequence[ResponseStreamEvent]
Part: TypeAlias = OutputText | ReasoningText


def new_id(kind: str) -> str:
    """Return a new id with the prefix *kind*."""
    return f"{kind}_{secrets.token_hex(12)}"


class _BaseItem:
    """The common part of the kinds of items."""

    kind: ClassVar[str]
    """The prefix of its id."""

    def __init__(self, index: int) -> None:
        self._id = new_id(self.kind)
        self._index = index
        self._pieces: list[str] = []

    @property
    def _text(self) -> str:
        return "".join(self._pieces)

    def _added(self, item: OutputItem, numbers: Numbers) -> OutputItemAddedEvent:
        return OutputItemAddedEvent(
            sequence_number=next(numbers), output_index=self._index, item=item
        )

    def _part_added(self, part: Part, numbers: Numbers) -> ContentPartAddedEvent:
        return ContentPartAddedEvent(
            sequence_number=next(numbers), item_id=self._id, output_index=self._index, part=part
        )

    def _part_done(self, part: Part, numbers: Numbers) -> ContentPartDoneEvent:
        return ContentPartDoneEvent(
            sequence_number=next(numbers), item_id=self._id, output_index=self._index, part=part
        )

    def _done(self, item: OutputItem, numbers: Numbers) -> OutputItemDoneEvent:
        return OutputItemDoneEvent(
            sequence_number=next(numbers), output_index=self._index, item=item
        )


class ReasoningItem(_BaseItem):
    """A reasoning item."""

    kind = "rs"

    def continues_with(self, event: OutputEvent) -> bool:
        """Return whether *event* belongs to it."""
        return isinstance(event, ReasoningDelta)

    def add(self, event: OutputEvent) -> None:
        """Add *event*, its first or its next one."""
        assert isinstance(event, ReasoningDelta)  # noqa: S101 - nothing else belongs to it
        self._pieces.append(event.text)

    def item(self, status: ItemStatus) -> OutputReasoning:
        """Return it as far as it is complete."""
        return self._item(status, [ReasoningText(text=self._text)])

    def opening(self, numbers: Numbers) -> StreamEvents:
        """Return the stream's events for its beginning."""
        return (
            self._added(self._item("in_progress", []), numbers),
            self._part_added(ReasoningText(text=""), numbers),
        )

    def delta(self, event: OutputEvent, numbers: Numbers) -> StreamEvents:
        """Return the stream's events for *event*, which was added."""
        assert isinstance(event, ReasoningDelta)  # noqa: S101 - nothing else belongs to it
        return (
            ReasoningTextDeltaEvent(
                sequence_number=next(numbers),
                item_id=self._id,
                output_index=self._index,
                delta=event.text,
            ),
        )

    def closing(self, status: ItemStatus, numbers: Numbers) -> StreamEvents:
        """Return the stream's events for its end."""
        part = ReasoningText(text=self._text)
        done = ReasoningTextDoneEvent(
            sequence_number=next(numbers),
            item_id=self._id,
            output_index=self._index,
            text=part.text,
        )
        return (
            done,
            self._part_done(part, numbers),
            self._done(self._item(status, [part]), numbers),
        )

    def _item(self, status: ItemStatus, content: list[ReasoningText]) -> OutputReasoning:
        return OutputReasoning(id=self._id, status=status, summary=[], content=content)


class MessageItem(_BaseItem):
    """A message item."""

    kind = "msg"

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._tokens: list[Token] = []

    def continues_with(self, event: OutputEvent) -> bool:
        """Return whether *event* belongs to it."""
        return isinstance(event, ContentDelta)

    def add(self, event: OutputEvent) -> None:
        """Add *event*, its first or its next one."""
        assert isinstance(event, ContentDelta)  # noqa: S101 - nothing else belongs to it
        self._pieces.append(event.text)
        self._tokens += event.tokens

    def item(self, status: ItemStatus) -> OutputMessage:
        """Return it as far as it is complete."""
        return self._item(status, [self._part()])

    def opening(self, numbers: Numbers) -> StreamEvents:
        """Return the stream's events for its beginning."""
        return (
            self._added(self._item("in_progress", []), numbers),
            self._part_added(OutputText(text="", annotations=[], logprobs=[]), numbers),
        )

    def delta(self, event: OutputEvent, numbers: Numbers) -> StreamEvents:
        """Return the stream's events for *event*, which was added."""
        assert isinstance(event, ContentDelta)  # noqa: S101 - nothing else belongs to it
        return (
            OutputTextDeltaEvent(
                sequence_number=next(numbers),
                item_id=self._id,
                output_index=self._index,
                delta=event.text,
                logprobs=_delta_logprobs(event.tokens),
            ),
        )

    def closing(self, status: ItemStatus, numbers: Numbers) -> StreamEvents:
        """Return the stream's events for its end."""
        part = self._part()
        done = OutputTextDoneEvent(
            sequence_number=next(numbers),
            item_id=self._id,
            output_index=self._index,
            text=part.text,
            logprobs=_delta_logprobs(self._tokens),
        )
        return (
            done,
            self._part_done(part, numbers),
            self._done(self._item(status, [part]), numbers),
        )

    def _part(self) -> OutputText:
        return OutputText(text=self._text, annotations=[], logprobs=_logprobs(self._tokens))

    def _item(self, status: ItemStatus, content: list[OutputText]) -> OutputMessage:
        return OutputMessage(id=self._id, status=status, content=content)


class CallItem(_BaseItem):
    """A function call."""

    kind = "fc"

    def __init__(self, index: int, start: ToolCallStart) -> None:
        super().__init__(index)
        self._start = start

    def continues_with(self, event: OutputEvent) -> bool:
        """Return whether *event* belongs to it."""
        return isinstance(event, ToolCallArguments) and event.index == self._start.index

    def add(self, event: OutputEvent) -> None:
        """Add *event*, its first or its next one."""
        if isinstance(event, ToolCallArguments):
            self._pieces.append(event.text)

    def item(self, status: ItemStatus) -> OutputFunctionCall:
        """Return it as far as it is complete."""
        return self._item(status, self._text)

    def opening(self, numbers: Numbers) -> StreamEvents:
        """Return the stream's events for its beginning."""
        return (self._added(self._item("in_progress", ""), numbers),)

    def delta(self, event: OutputEvent, numbers: Numbers) -> StreamEvents:
        """Return the stream's events for *event*, which was added."""
        if not isinstance(event, ToolCallArguments):
            return ()
        return (
            FunctionCallArgumentsDeltaEvent(
                sequence_number=next(numbers),
                item_id=self._id,
                output_index=self._index,
                delta=event.text,
            ),
        )

    def closing(self, status: ItemStatus, numbers: Numbers) -> StreamEvents:
        """Return the stream's events for its end."""
        done = FunctionCallArgumentsDoneEvent(
            sequence_number=next(numbers),
            item_id=self._id,
            output_index=self._index,
            arguments=self._text,
        )
        return (done, self._done(self.item(status), numbers))

    def _item(self, status: ItemStatus, arguments: str) -> OutputFunctionCall:
        return OutputFunctionCall(
            id=self._id,
            status=status,
            call_id=self._start.id,
            name=self._start.name,
            arguments=arguments,
        )


ItemDraft: TypeAlias = ReasoningItem | MessageItem | CallItem


class OutputItems:
    """The items of one response, in the order of the model's output."""

    def __init__(self) -> None:
        self._items: list[ItemDraft] = []

    @property
    def last(self) -> ItemDraft | None:
        """The item that is being written."""
        return self._items[-1] if self._items else None

    def add(self, event: OutputEvent) -> ItemDraft:
        """Add *event*; return its item, which is now the last one."""
        item = self.last
        if item is None or not item.continues_with(event):
            item = _begin(len(self._items), event)
            self._items.append(item)
        item.add(event)
        return item

    def conclude(self) -> MessageItem | None:
        """Add and return an empty message, if there is no message and no call yet."""
        if any(isinstance(item, MessageItem | CallItem) for item in self._items):
            return None
        message = MessageItem(len(self._items))
        self._items.append(message)
        return message

    def items(self, last: ItemStatus) -> list[OutputItem]:
        """Return them as far as they are complete; *last* is the status of the last one."""
        ends = len(self._items) - 1
        return [
            item.item(last if index == ends else "completed")
            for index, item in enumerate(self._items)
        ]


def _begin(index: int, event: OutputEvent) -> ItemDraft:
    match event:
        case ReasoningDelta():
            return ReasoningItem(index)
        case ToolCallStart():
            return CallItem(index, event)
        case _:
            return MessageItem(index)


# ── log probabilities ───────────────────────────────────────────────────────────────────────────


def _logprobs(tokens: Iterable[Token]) -> list[OutputLogprob]:
    return [
        OutputLogprob(
            token=text_of(token.piece),
            bytes=list(token.piece),
            logprob=finite(token.logprob),
            top_logprobs=[_top(candidate) for candidate in token.candidates],
        )
        for token in tokens
    ]


def _top(candidate: Candidate) -> OutputTopLogprob:
    return OutputTopLogprob(
        token=text_of(candidate.piece),
        bytes=list(candidate.piece),
        logprob=finite(candidate.logprob),
    )


def _delta_logprobs(tokens: Iterable[Token]) -> list[DeltaLogprob]:
    """Return log probabilities for a stream's events, which have no bytes at OpenAI."""
    return [
        DeltaLogprob(
            token=text_of(token.piece),
            logprob=finite(token.logprob),
            top_logprobs=[
                DeltaTopLogprob(token=text_of(candidate.piece), logprob=finite(candidate.logprob))
                for candidate in token.candidates
            ],
        )
        for token in tokens
    ]
