"""Chat completions from the events of a generation: whole, or as chunks."""

import secrets
import time
from collections.abc import AsyncGenerator, Iterable, Sequence

import msgspec
from msgspec import UNSET

from pilotlight.api.endpoints.openai import finite, loading_of, text_of, usage_of
from pilotlight.api.http.whole_response import collect
from pilotlight.generation import Begun, Ended, Events, FirstToken, GenerationEvent
from pilotlight.models.state import ModelStatus
from pilotlight.observability.timing import Phases
from pilotlight.output.events import (
    ContentDelta,
    OutputEvent,
    ReasoningDelta,
    ToolCallArguments,
    ToolCallStart,
)
from pilotlight.schema.chat.response import (
    AnsweredFunction,
    AnsweredToolCall,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessage,
    Choice,
    ChoiceLogprobs,
    ChunkChoice,
    Delta,
    FinishReason,
    FunctionDelta,
    TokenLogprob,
    ToolCallDelta,
    TopLogprob,
)
from pilotlight_backend import Candidate, Token


def _new_id() -> str:
    return f"chatcmpl-{secrets.token_hex(12)}"


# ── the completion ──────────────────────────────────────────────────────────────────────────────


class _ChatChoice:
    """A choice as it grows."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[tuple[ToolCallStart, list[str]]] = []
        self._logprobs: list[TokenLogprob] = []

    def add(self, event: OutputEvent) -> None:
        match event:
            case ContentDelta():
                self._content.append(event.text)
                self._logprobs += _logprobs(event.tokens)
            case ReasoningDelta():
                self._reasoning.append(event.text)
            case ToolCallStart():
                self._calls.append((event, []))
            case ToolCallArguments():
                self._calls[event.index][1].append(event.text)

    @property
    def reasoning(self) -> str | msgspec.UnsetType:
        return "".join(self._reasoning) or UNSET

    def choice(self, index: int, reason: FinishReason, *, logprobs: bool) -> Choice:
        calls = [
            AnsweredToolCall(
                id=start.id,
                function=AnsweredFunction(name=start.name, arguments="".join(arguments)),
            )
            for start, arguments in self._calls
        ]
        message = ChatCompletionMessage(
            content="".join(self._content) if self._content or not calls else None,
            reasoning_content=self.reasoning,
            tool_calls=calls or UNSET,
        )
        listed = ChoiceLogprobs(content=self._logprobs) if logprobs else None
        return Choice(index=index, message=message, logprobs=listed, finish_reason=reason)


async def fold(
    generation: AsyncGenerator[Events], *, n: int, logprobs: bool
) -> tuple[ChatCompletion, Phases | None]:
    """Return the completion with the *n* choices, and the timing of a cold start."""
    drafts = [_ChatChoice() for _ in range(n)]
    whole = await collect(generation, lambda index, event: drafts[index].add(event))
    choices = [
        draft.choice(index, whole.endings[index].reason, logprobs=logprobs)
        for index, draft in enumerate(drafts)
    ]
    completion = ChatCompletion(
        id=_new_id(),
        created=int(time.time()),
        model=whole.begun.model,
        choices=choices,
        usage=usage_of(whole.endings, n),
        system_fingerprint=whole.begun.fingerprint,
        thought=drafts[0].reasoning,
    )
    return completion, whole.timing


# ── the stream ──────────────────────────────────────────────────────────────────────────────────


class ChatChunks:
    """Turns the events of *n* choices into chunks; *model* is the requested name."""

    def __init__(self, model: str, *, n: int, include_usage: bool, logprobs: bool) -> None:
        self._n = n
        self._include_usage = include_usage
        self._logprobs = logprobs
        self._id = _new_id()
        self._created = int(time.time())
        self._model = model
        self._fingerprint: str | msgspec.UnsetType = UNSET
        self._endings: dict[int, Ended] = {}

    def of(self, index: int, event: GenerationEvent) -> Sequence[ChatCompletionChunk]:
        """Return the chunks of *event*, which is the choice *index*'s."""
        match event:
            case Begun():
                self._model = event.model
                self._fingerprint = event.fingerprint
                return (self._chunk(index, Delta(role="assistant", content="")),)
            case FirstToken():
                return ()
            case Ended():
                return self._last(index, event)
            case _:
                return (self._output(index, event),)

    def _output(self, index: int, event: OutputEvent) -> ChatCompletionChunk:
        match event:
            case ContentDelta():
                return self._content(index, event)
            case ReasoningDelta():
                return self._chunk(index, Delta(reasoning_content=event.text), thought=event.text)
            case ToolCallArguments():
                function = FunctionDelta(arguments=event.text)
                return self._call(index, ToolCallDelta(index=event.index, function=function))
            case ToolCallStart():
                function = FunctionDelta(name=event.name, arguments="")
                call = ToolCallDelta(
                    index=event.index, id=event.id, type="function", function=function
                )
                return self._call(index, call)

    def _content(self, index: int, event: ContentDelta) -> ChatCompletionChunk:
        chunk = self._chunk(index, Delta(content=event.text))
        if self._logprobs:
            chunk.choices[0].logprobs = ChoiceLogprobs(content=_logprobs(event.tokens))
        return chunk

    def _last(self, index: int, ended: Ended) -> Sequence[ChatCompletionChunk]:
        self._endings[index] = ended
        last = self._chunk(index, Delta(), reason=ended.reason)
        if self._include_usage and len(self._endings) == self._n:
            return last, self._usage()
        return (last,)

    def broken(self) -> Sequence[ChatCompletionChunk]:
        """Return the chunks that end the choices which are not whole."""
        return [
            self._chunk(index, Delta(), reason="error")
            for index in range(self._n)
            if index not in self._endings
        ]

    def loading(self, status: ModelStatus) -> ChatCompletionChunk:
        """Return the chunk that says how far the model is loaded."""
        return ChatCompletionChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[],
            usage=None if self._include_usage else UNSET,
            loading=loading_of(status),
        )

    def _call(self, index: int, call: ToolCallDelta) -> ChatCompletionChunk:
        return self._chunk(index, Delta(tool_calls=[call]))

    def _chunk(
        self,
        index: int,
        delta: Delta,
        *,
        reason: FinishReason | None = None,
        thought: str | msgspec.UnsetType = UNSET,
    ) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[ChunkChoice(index=index, delta=delta, finish_reason=reason)],
            usage=None if self._include_usage else UNSET,
            system_fingerprint=self._fingerprint,
            thought=thought,
        )

    def _usage(self) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[],
            usage=usage_of(self._endings, self._n),
            system_fingerprint=self._fingerprint,
        )


# ── log probabilities ───────────────────────────────────────────────────────────────────────────


def _logprobs(tokens: Iterable[Token]) -> list[TokenLogprob]:
    """Return *tokens* with their log probabilities."""
    return [
        TokenLogprob(
            token=text_of(token.piece),
            logprob=finite(token.logprob),
            bytes=list(token.piece),
            top_logprobs=[_top(candidate) for candidate in token.candidates],
        )
        for token in tokens
    ]


def _top(candidate: Candidate) -> TopLogprob:
    return TopLogprob(
        token=text_of(candidate.piece),
        logprob=finite(candidate.logprob),
        bytes=list(candidate.piece),
    )
