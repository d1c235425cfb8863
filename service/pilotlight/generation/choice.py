"""One answer on its way from engine events to generation events."""

import secrets
from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from pilotlight.generation.dialect import Dialect
from pilotlight.generation.events import Begun, Ended, FirstToken, GenerationEvent
from pilotlight.generation.params import GenerationParams
from pilotlight.generation.rendering import Rendered
from pilotlight.observability.answer_watch import AnswerWatch
from pilotlight.output.events import ContentDelta, OutputEvent, ToolCallStart
from pilotlight.output.parser import OutputParser
from pilotlight.output.stops import StopFilter
from pilotlight_backend import BackendError, EngineEvent, Failed, Finish, Started, Token, Usage


class Answer:
    """Follows one of a request's answers."""

    def __init__(
        self,
        dialect: Dialect,
        params: GenerationParams,
        prompt: Rendered,
        watch: AnswerWatch,
        echo: str = "",
    ) -> None:
        """*echo* is what the answer begins with, before anything is generated."""
        self._begun = (dialect.model, dialect.fingerprint)
        self._watch = watch
        self._echo = [ContentDelta(echo)] if echo else []
        calls = params.calls if prompt.chat else None
        self._parser = OutputParser(
            reasoning=dialect.reasoning if prompt.chat else None,
            opened=prompt.opened,
            tool_calls=dialect.tool_calls if calls else None,
            new_id=_new_call_id,
            schemas=None
            if calls is None
            else {one.name: one.parameters for one in calls.functions},
        )
        self._stops = StopFilter(params.stops)
        self._skipped = _skipped(dialect, prompt, calls is not None)
        if params.stops:  # one that is a control token's name ends the answer
            self._skipped -= {stop.encode("utf-8", "replace") for stop in params.stops}
        self._empty = params.max_tokens == 0
        self._parallel = calls is None or calls.parallel
        self._untold: list[Token] | None = None if params.logprobs is None else []
        """Tokens whose text is not settled yet."""
        self.usage = Usage(prompt_tokens=0, completion_tokens=0)
        """What it has taken so far."""
        self._calls = 0
        self.ended: Ended | None = None
        self.failure: BackendError | None = None
        """Why it ended too early; to be raised once what came before is told."""

    def over(self) -> bool:
        """Whether nothing more is wanted of the engine."""
        return self.ended is not None or self.failure is not None

    def feed(self, event: EngineEvent) -> Sequence[GenerationEvent]:
        """Return what *event* settles; only while not `over`."""
        match event:
            case Token():
                return self._token(event)
            case Started():
                self.usage = Usage(
                    prompt_tokens=event.prompt_tokens,
                    completion_tokens=0,
                    cached_tokens=event.cached_tokens,
                )
                timing = self._watch.begun()
                begun = Begun(*self._begun, event.prompt_tokens, event.cached_tokens, timing)
                return [begun, *self._echo]
            case Finish():
                reason: Literal["stop", "length"] = "length" if event.reason == "length" else "stop"
                if self._empty:
                    return self._end("length")
                self.usage = event.usage
                return self._end(reason)
            case Failed():
                self.failure = event.error
                return []

    def _token(self, token: Token) -> Sequence[GenerationEvent]:
        if self._empty:
            return self._end("length")
        self.usage = replace(self.usage, completion_tokens=self.usage.completion_tokens + 1)
        events = list(self._said(token))
        if (timing := self._watch.first_token()) is not None:
            events.insert(0, FirstToken(timing))
        if self._stops.stopped is not None or self._has_called_enough:
            events += self._end("stop")
        return events

    def _said(self, token: Token) -> Sequence[GenerationEvent]:
        """Return what the client is told of *token*."""
        if token.piece in self._skipped:
            return self._stops.feed(self._skip(token))
        if self._untold is not None:
            self._untold.append(token)
        return self._tell(self._parser.feed(token.piece))

    @property
    def _has_called_enough(self) -> bool:
        return self._calls > 1 and not self._parallel

    def _end(self, reason: Literal["stop", "length"]) -> Sequence[GenerationEvent]:
        # What the parsers held back may complete a stop; then it is that which ends the answer.
        rest: list[GenerationEvent] = list(self._tell(self._parser.flush(cut=reason == "length")))
        rest += self._up_to_a_call_too_many(self._stops.flush())
        if self._stops.stopped is not None:
            reason = "stop"
        called = self._calls and reason == "stop"
        self.ended = Ended(
            "tool_calls" if called else reason,
            self.usage,
            self._parser.reasoning_tokens,
            self._stops.stopped,
        )
        return [*rest, self.ended]

    def _tell(self, events: Sequence[OutputEvent]) -> Sequence[OutputEvent]:
        """Return what the client is told of *events*."""
        return self._up_to_a_call_too_many(self._stops.feed(self._with_tokens(events)))

    def _up_to_a_call_too_many(self, events: Sequence[OutputEvent]) -> Sequence[OutputEvent]:
        told: list[OutputEvent] = []
        for event in events:
            self._calls += isinstance(event, ToolCallStart)
            if self._has_called_enough:
                break
            told.append(event)
        return told

    def _with_tokens(self, events: Sequence[OutputEvent]) -> Sequence[OutputEvent]:
        """Return *events*, content with its tokens where they are asked for.

        A token belongs to what it settles, and one that is held back to what comes next; markers
        belong to nothing.
        """
        if self._untold and (events or not self._parser.pending):
            events = list(events)
            self._attach(events, tuple(self._untold))
            self._untold.clear()
        return events

    def _skip(self, token: Token) -> Sequence[OutputEvent]:
        """Return what a token that is left out settles: content without text, where it is told."""
        self._parser.feed(b"")  # it counts as reasoning where it stands in it
        told = self._untold is not None and not self._parser.in_reasoning
        return [ContentDelta("", (token,))] if told else []

    @staticmethod
    def _attach(events: list[OutputEvent], tokens: tuple[Token, ...]) -> None:
        """Give *tokens* to the content that was settled last, if any was."""
        for at in range(len(events) - 1, -1, -1):
            if isinstance(content := events[at], ContentDelta):
                events[at] = replace(content, tokens=tokens)
                return


def _skipped(dialect: Dialect, prompt: Rendered, calls: bool) -> frozenset[bytes]:  # noqa: FBT001
    """Return the tokens that are left out of an answer to *prompt*, by their bytes."""
    if not prompt.chat:
        return dialect.skipped.text
    return dialect.skipped.calls if calls else dialect.skipped.chat


def _new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"
