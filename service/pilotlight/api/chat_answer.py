"""Chat's projection of the one event stream: a whole answer, or chunks."""

import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec
from msgspec import UNSET

from pilotlight.generation import Begun, Ended, FirstToken, GenerationEvent
from pilotlight.models.pool import ModelStatus
from pilotlight.output.events import (
    ContentDelta,
    OutputEvent,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from pilotlight.receipt import Phases
from pilotlight.schema.chat import (
    AnsweredFunction,
    AnsweredToolCall,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessage,
    Choice,
    ChunkChoice,
    CompletionTokensDetails,
    CompletionUsage,
    Delta,
    FinishReason,
    FunctionDelta,
    Loading,
    PromptTokensDetails,
    ToolCallDelta,
)


def _usage(ended: Ended) -> CompletionUsage:
    usage = ended.usage
    return CompletionUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=usage.cached_tokens),
        completion_tokens_details=CompletionTokensDetails(reasoning_tokens=ended.reasoning_tokens),
    )


def _new_id() -> str:
    return f"chatcmpl-{secrets.token_hex(12)}"


# ── the whole answer ────────────────────────────────────────────────────────────────────────────


async def fold(
    generation: AsyncGenerator[Sequence[GenerationEvent]],
) -> tuple[ChatCompletion, Phases | None]:
    """Return the answer that the events of *generation* add up to, and a cold start's receipt."""
    content: list[str] = []
    thought: list[str] = []
    calls: list[tuple[ToolCallStart, list[str]]] = []
    begun: Begun | None = None
    receipt: Phases | None = None
    async with aclosing(generation):
        async for events in generation:
            for event in events:
                match event:
                    case ContentDelta():
                        content.append(event.text)
                    case ReasoningDelta():
                        thought.append(event.text)
                    case ToolCallStart():
                        calls.append((event, []))
                    case ToolCallArguments():
                        calls[event.index][1].append(event.text)
                    case Begun():
                        begun = event
                        receipt = event.receipt
                    case FirstToken():
                        receipt = event.receipt
                    case Ended():
                        ended = event
    assert begun  # noqa: S101 - a generation begins, or raises
    reasoning = "".join(thought) or UNSET
    tool_calls = [
        AnsweredToolCall(
            id=start.id,
            function=AnsweredFunction(name=start.name, arguments="".join(arguments)),
        )
        for start, arguments in calls
    ]
    message = ChatCompletionMessage(
        content="".join(content) if content or not calls else None,
        reasoning_content=reasoning,
        tool_calls=tool_calls or UNSET,
    )
    answer = ChatCompletion(
        id=_new_id(),
        created=int(time.time()),
        model=begun.model,
        choices=[Choice(message=message, finish_reason=ended.reason)],
        usage=_usage(ended),
        system_fingerprint=begun.fingerprint,
        thought=reasoning,
    )
    return answer, receipt


# ── the stream ──────────────────────────────────────────────────────────────────────────────────


class Chunks:
    """Turns one answer's events into chunks; *model* is its name until the answer tells it."""

    def __init__(self, model: str, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._id = _new_id()
        self._created = int(time.time())
        self._model = model
        self._fingerprint: str | msgspec.UnsetType = UNSET

    def of(self, event: GenerationEvent) -> Sequence[ChatCompletionChunk]:
        """Return what a stream says of *event*."""
        match event:
            case Begun():
                self._model = event.model
                self._fingerprint = event.fingerprint
                return (self._chunk(Delta(role="assistant", content="")),)
            case FirstToken():
                return ()
            case Ended():
                return self._last(event)
            case _:
                return (self._output(event),)

    def _output(self, event: OutputEvent) -> ChatCompletionChunk:
        match event:
            case ContentDelta():
                return self._chunk(Delta(content=event.text))
            case ReasoningDelta():
                return self._chunk(Delta(reasoning_content=event.text), thought=event.text)
            case ToolCallArguments():
                function = FunctionDelta(arguments=event.text)
                return self._call(ToolCallDelta(index=event.index, function=function))
            case ToolCallStart():
                function = FunctionDelta(name=event.name, arguments="")
                call = ToolCallDelta(
                    index=event.index, id=event.id, type="function", function=function
                )
                return self._call(call)

    def _last(self, ended: Ended) -> Sequence[ChatCompletionChunk]:
        last = self.finish(ended.reason)
        return (last, self._usage(ended)) if self._include_usage else (last,)

    def loading(self, status: ModelStatus) -> ChatCompletionChunk:
        """Return the chunk that tells how far the model is."""
        return ChatCompletionChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[],
            usage=None if self._include_usage else UNSET,
            loading=Loading(
                state=status.state, progress=status.progress, retry_after=status.retry_after
            ),
        )

    def finish(self, reason: FinishReason) -> ChatCompletionChunk:
        """Return the chunk that carries the finish reason."""
        return self._chunk(Delta(), finish_reason=reason)

    def _call(self, call: ToolCallDelta) -> ChatCompletionChunk:
        return self._chunk(Delta(tool_calls=[call]))

    def _chunk(
        self,
        delta: Delta,
        *,
        finish_reason: FinishReason | None = None,
        thought: str | msgspec.UnsetType = UNSET,
    ) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[ChunkChoice(delta=delta, finish_reason=finish_reason)],
            usage=None if self._include_usage else UNSET,
            system_fingerprint=self._fingerprint,
            thought=thought,
        )

    def _usage(self, ended: Ended) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[],
            usage=_usage(ended),
            system_fingerprint=self._fingerprint,
        )
