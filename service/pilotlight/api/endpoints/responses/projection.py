"""Responses from the events of a generation: whole, or as a stream's events."""

import itertools
import time
from collections.abc import AsyncGenerator, Iterable

from pilotlight.api.endpoints.responses.items import OutputItems, new_id
from pilotlight.api.http import sse
from pilotlight.api.http.whole_response import collect
from pilotlight.api.params.sampling import sampling_of
from pilotlight.errors import ServiceError
from pilotlight.generation import Begun, Ended, Events, FirstToken, GenerationEvent
from pilotlight.observability.timing import Phases
from pilotlight.output.events import OutputEvent
from pilotlight.schema.openai import TextFormat
from pilotlight.schema.responses.events import (
    ErrorEventDetail,
    ResponseCompletedEvent,
    ResponseCreatedEvent,
    ResponseErrorEvent,
    ResponseFailedEvent,
    ResponseIncompleteEvent,
    ResponseInProgressEvent,
    ResponseStreamEvent,
)
from pilotlight.schema.responses.input import ItemStatus
from pilotlight.schema.responses.request import ReasoningConfig, ResponseRequest, ResponseTextConfig
from pilotlight.schema.responses.response import (
    AnsweredDeclaration,
    AnsweredReasoning,
    AnsweredText,
    AnsweredTool,
    IncompleteDetails,
    ResponseFault,
    ResponseInputTokensDetails,
    ResponseObject,
    ResponseOutputTokensDetails,
    ResponseUsage,
    SkippedAnsweredTool,
)
from pilotlight.schema.responses.tools import (
    ResponseFunctionTool,
    ResponseTool,
    SkippedResponseTool,
)


class ResponseDraft:
    """A response as it grows."""

    def __init__(self, asked: ResponseRequest) -> None:
        text = asked.text or ResponseTextConfig()
        reasoning = asked.reasoning or ReasoningConfig()
        sampling = sampling_of(asked)
        self.output = OutputItems()
        self.response = ResponseObject(
            id=new_id("resp"),
            created_at=int(time.time()),
            status="in_progress",
            model=asked.model,
            output=[],
            instructions=asked.instructions,
            max_output_tokens=asked.max_output_tokens,
            max_tool_calls=asked.max_tool_calls,
            metadata=asked.metadata or {},
            parallel_tool_calls=asked.parallel_tool_calls is not False,
            prompt_cache_key=asked.prompt_cache_key,
            reasoning=AnsweredReasoning(effort=reasoning.effort, summary=reasoning.summary),
            safety_identifier=asked.safety_identifier,
            temperature=sampling.temperature,
            text=AnsweredText(
                format=text.format or TextFormat(), verbosity=text.verbosity or "medium"
            ),
            tool_choice=asked.tool_choice or "auto",
            tools=[_tool(tool) for tool in asked.tools or ()],
            top_logprobs=asked.top_logprobs or 0,
            top_p=sampling.top_p,
            user=asked.user,
        )

    def begin(self, begun: Begun) -> None:
        """Note that the response has begun."""
        self.response.model = begun.model

    def end(self, ended: Ended) -> ResponseObject:
        """Return the response as it is at the end."""
        response = self.response
        last = item_status(ended)
        if last == "completed":
            self.output.conclude()
        response.output = self.output.items(last)
        response.usage = _usage(ended)
        if last == "incomplete":
            response.status = "incomplete"
            response.incomplete_details = IncompleteDetails(reason="max_output_tokens")
        else:
            response.status = "completed"
            response.completed_at = int(time.time())
        return response

    def fail(self, error: ServiceError) -> ResponseObject:
        """Return the response as far as it came before *error*."""
        response = self.response
        response.output = self.output.items("incomplete")
        response.status = "failed"
        response.error = ResponseFault(message=error.message, param=error.param, type=error.type)
        return response


def item_status(ended: Ended) -> ItemStatus:
    """Return the status of the last item."""
    return "incomplete" if ended.reason == "length" else "completed"


def _tool(tool: ResponseTool) -> AnsweredDeclaration:
    if isinstance(tool, SkippedResponseTool):
        return SkippedAnsweredTool(tool)
    assert isinstance(tool, ResponseFunctionTool)  # noqa: S101 - there are no others
    return AnsweredTool(
        name=tool.name,
        description=tool.description,
        parameters=tool.parameters,
        strict=tool.strict,
    )


def _usage(ended: Ended) -> ResponseUsage:
    usage = ended.usage
    return ResponseUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=ResponseInputTokensDetails(cached_tokens=usage.cached_tokens),
        output_tokens=usage.completion_tokens,
        output_tokens_details=ResponseOutputTokensDetails(reasoning_tokens=ended.reasoning_tokens),
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )


# ── the whole response ──────────────────────────────────────────────────────────────────────────


async def fold(
    generation: AsyncGenerator[Events], asked: ResponseRequest
) -> tuple[ResponseObject, Phases | None]:
    """Return the response of *generation*, and the timing of a cold start."""
    draft = ResponseDraft(asked)

    def add(_number: int, event: OutputEvent) -> None:
        draft.output.add(event)

    whole = await collect(generation, add)
    draft.begin(whole.begun)
    return draft.end(whole.endings[0]), whole.timing


# ── the stream ──────────────────────────────────────────────────────────────────────────────────


class ResponseProjection:
    """Encodes one stream; nothing follows the event with which the response ends."""

    ping = sse.PING
    loading = None

    def __init__(self, asked: ResponseRequest) -> None:
        self._draft = ResponseDraft(asked)
        self._numbers = itertools.count()
        self._begun = False

    def encode(self, events: Events) -> bytes:
        """Return the stream's events for *events*."""
        return _encoded(one for _, event in events for one in self._of(event))

    def fail(self, error: ServiceError) -> bytes:
        """Return the failed response, and the error, which the SDKs raise.

        In this order, since what follows a raised error is not read. A response that did not begin
        begins here: to the SDKs' `responses.stream`, another first event is an error of its own.
        """
        opening = b"" if self._begun else _encoded(self._opening())
        failed = ResponseFailedEvent(
            sequence_number=next(self._numbers), response=self._draft.fail(error)
        )
        raised = ResponseErrorEvent(
            sequence_number=next(self._numbers),
            message=error.message,
            code=error.code,
            param=error.param,
            error=ErrorEventDetail(
                message=error.message, type=error.type, param=error.param, code=error.code
            ),
        )
        return opening + _encoded((failed, raised))

    def end(self) -> bytes:
        """Return nothing: OpenAI ends these streams without `[DONE]`."""
        return b""

    def _of(self, event: GenerationEvent) -> Iterable[ResponseStreamEvent]:
        match event:
            case Begun():
                self._draft.begin(event)
                yield from self._opening()
            case FirstToken():
                pass
            case Ended():
                yield from self._last(event)
            case _:
                yield from self._output(event)

    def _opening(self) -> Iterable[ResponseStreamEvent]:
        self._begun = True
        response = self._draft.response
        yield ResponseCreatedEvent(sequence_number=next(self._numbers), response=response)
        yield ResponseInProgressEvent(sequence_number=next(self._numbers), response=response)

    def _output(self, event: OutputEvent) -> Iterable[ResponseStreamEvent]:
        before = self._draft.output.last
        item = self._draft.output.add(event)
        if item is not before:
            if before is not None:
                yield from before.closing("completed", self._numbers)
            yield from item.opening(self._numbers)
        yield from item.delta(event, self._numbers)

    def _last(self, ended: Ended) -> Iterable[ResponseStreamEvent]:
        status = item_status(ended)
        last = self._draft.output.last
        if status == "completed" and (empty := self._draft.output.conclude()) is not None:
            if last is not None:
                yield from last.closing("completed", self._numbers)
            yield from empty.opening(self._numbers)
            last = empty
        if last is not None:
            yield from last.closing(status, self._numbers)
        kind = ResponseIncompleteEvent if status == "incomplete" else ResponseCompletedEvent
        yield kind(sequence_number=next(self._numbers), response=self._draft.end(ended))


def _encoded(events: Iterable[ResponseStreamEvent]) -> bytes:
    """Return *events* as server-sent events, each named by its type."""
    return b"".join(sse.encode_named(str(event.__struct_config__.tag), event) for event in events)
