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
    """One event of a stream; they are numbered from 0."""

    sequence_number: int


class ResponseCreatedEvent(ResponseEvent, kw_only=True, tag_field="type", tag="response.created"):
    """The answer has begun."""

    response: ResponseObject


class ResponseInProgressEvent(
    ResponseEvent, kw_only=True, tag_field="type", tag="response.in_progress"
):
    """The answer is on its way."""

    response: ResponseObject


class ResponseCompletedEvent(
    ResponseEvent, kw_only=True, tag_field="type", tag="response.completed"
):
    """The answer is whole."""

    response: ResponseObject


class ResponseIncompleteEvent(
    ResponseEvent, kw_only=True, tag_field="type", tag="response.incomplete"
):
    """The answer is cut."""

    response: ResponseObject


class ResponseFailedEvent(ResponseEvent, kw_only=True, tag_field="type", tag="response.failed"):
    """The answer broke off."""

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
    """An item is whole, or cut."""

    output_index: int
    item: OutputItem


class ItemEvent(ResponseEvent, kw_only=True):
    """Something of the item that *output_index* counts."""

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
    """The text of an item is whole, or cut."""

    content_index: int = 0
    part: OutputText | ReasoningText


class DeltaTopLogprob(Response, kw_only=True):
    """A token that could have come, and the natural logarithm of its probability."""

    token: str
    logprob: float


class DeltaLogprob(DeltaTopLogprob, kw_only=True):
    """A token that came, and the likeliest at its place."""

    top_logprobs: list[DeltaTopLogprob]


class OutputTextDeltaEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.output_text.delta"
):
    """More of a message."""

    content_index: int = 0
    delta: str
    logprobs: list[DeltaLogprob]


class OutputTextDoneEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.output_text.done"
):
    """The whole of a message."""

    content_index: int = 0
    text: str
    logprobs: list[DeltaLogprob]


class ReasoningTextDeltaEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.reasoning_text.delta"
):
    """More of a thought."""

    content_index: int = 0
    delta: str


class ReasoningTextDoneEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.reasoning_text.done"
):
    """The whole of a thought."""

    content_index: int = 0
    text: str


class FunctionCallArgumentsDeltaEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.function_call_arguments.delta"
):
    """More of a call's arguments."""

    delta: str


class FunctionCallArgumentsDoneEvent(
    ItemEvent, kw_only=True, tag_field="type", tag="response.function_call_arguments.done"
):
    """The whole of a call's arguments."""

    arguments: str


class ErrorEventDetail(Response, kw_only=True):
    """The error as its body has it; by this field the SDKs know that it is one, and raise it."""

    message: str
    type: str
    param: str | None
    code: str


class ResponseErrorEvent(ResponseEvent, kw_only=True, tag_field="type", tag="error"):
    """What broke the answer off; the last event of a stream that has one."""

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
