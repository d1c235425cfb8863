"""The events of a streamed response."""

from typing import TypeAlias

from pilotlight.schema.base import Response
from pilotlight.schema.responses.response import (
    OutputItem,
    OutputText,
    ReasoningText,
    ResponseObject,
)


class ResponseEvent(Response, kw_only=True):
    """One event of a stream; events are numbered from 0."""

    sequence_number: int


class ResponseCreatedEvent(ResponseEvent, kw_only=True, tag_field="type", tag="response.created"):
    """The response begins."""

    response: ResponseObject


class ResponseInProgressEvent(
    ResponseEvent, kw_only=True, tag_field="type", tag="response.in_progress"
):
    """The response is in progress."""

    response: ResponseObject


class ResponseCompletedEvent(
    ResponseEvent, kw_only=True, tag_field="type", tag="response.completed"
):
    """The response is complete."""

    response: ResponseObject


class ResponseIncompleteEvent(
    ResponseEvent, kw_only=True, tag_field="type", tag="response.incomplete"
):
    """The response is incomplete: it reached its maximum of tokens."""

    response: ResponseObject


class ResponseFailedEvent(ResponseEvent, kw_only=True, tag_field="type", tag="response.failed"):
    """The response failed."""

    response: ResponseObject


class OutputItemAddedEvent(
    ResponseEvent, kw_only=True, tag_field="type", tag="response.output_item.added"
):
    """An item begins."""

    output_index: int
    item: OutputItem


class OutputItemDoneEvent(
    ResponseEvent, kw_only=True, tag_field="type", tag="response.output_item.done"
):
    """An item ends."""

    output_index: int
    item: OutputItem


class ItemEvent(ResponseEvent, kw_only=True):
    """An event of the item number *output_index*."""

    item_id: str
    output_index: int


class ContentPartAddedEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.content_part.added"
):
    """The text of an item begins."""

    content_index: int = 0
    part: OutputText | ReasoningText


class ContentPartDoneEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.content_part.done"
):
    """The text of an item ends."""

    content_index: int = 0
    part: OutputText | ReasoningText


class DeltaTopLogprob(Response, kw_only=True):
    """A candidate token, and the natural logarithm of its probability."""

    token: str
    logprob: float


class DeltaLogprob(DeltaTopLogprob, kw_only=True):
    """A sampled token, and the likeliest candidates for its position."""

    top_logprobs: list[DeltaTopLogprob]


class OutputTextDeltaEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.output_text.delta"
):
    """The next piece of a message."""

    content_index: int = 0
    delta: str
    logprobs: list[DeltaLogprob]


class OutputTextDoneEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.output_text.done"
):
    """The whole text of a message."""

    content_index: int = 0
    text: str
    logprobs: list[DeltaLogprob]


class ReasoningTextDeltaEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.reasoning_text.delta"
):
    """The next piece of reasoning."""

    content_index: int = 0
    delta: str


class ReasoningTextDoneEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.reasoning_text.done"
):
    """The whole text of reasoning."""

    content_index: int = 0
    text: str


class FunctionCallArgumentsDeltaEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.function_call_arguments.delta"
):
    """The next piece of a call's arguments."""

    delta: str


class FunctionCallArgumentsDoneEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.function_call_arguments.done"
):
    """All of a call's arguments."""

    arguments: str


class ErrorEventDetail(Response, kw_only=True):
    """The error as in an error body; the SDKs raise it because this field exists."""

    message: str
    type: str
    param: str | None
    code: str


class ResponseErrorEvent(ResponseEvent, kw_only=True, tag_field="type", tag="error"):
    """The error that ends a stream; its last event."""

    message: str
    code: str
    param: str | None
    error: ErrorEventDetail


ResponseStreamEvent: TypeAlias = (
    ResponseCreatedEvent
    | ResponseInProgressEvent
    | OutputItemAddedEvent
    | ContentPartAddedEvent
    | ReasoningTextDeltaEvent
    | ReasoningTextDoneEvent
    | OutputTextDeltaEvent
    | OutputTextDoneEvent
    | FunctionCallArgumentsDeltaEvent
    | FunctionCallArgumentsDoneEvent
    | ContentPartDoneEvent
    | OutputItemDoneEvent
    | ResponseCompletedEvent
    | ResponseIncompleteEvent
    | ResponseFailedEvent
    | ResponseErrorEvent
)
