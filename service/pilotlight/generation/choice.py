"""One choice of a request: turns an engine's events into generation events."""

import secrets
from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from pilotlight.generation.events import Begun, Ended, FirstToken, GenerationEvent
from pilotlight.generation.params import GenerationParams
from pilotlight.generation.prepared_model import PreparedModel
from pilotlight.generation.rendering import Rendered
from pilotlight.observability.answer_recorder import AnswerRecorder
from pilotlight.output.events import ContentDelta, OutputEvent, ToolCallStart
from pilotlight.output.parser import OutputParser
from pilotlight.output.stops import StopFilter
from pilotlight_backend import BackendError, EngineEvent, Failed, Finish, Started, Token, Usage


class Choice:
    """Follows one of a request's *n* choices, from its first event to its last."""

    def __init__(
        self,
        model: PreparedModel,
        params: GenerationParams,
        prompt: Rendered,
        recorder: AnswerRecorder,
        echo: str = "",
    ) -> None:
        """*echo* is the text that the choice begins with, before anything is generated."""
        # An adapter has a name of its own, and its parent prepared.
        self._begun = (recorder.model or model.name, model.fingerprint)
        self._recorder = recorder
        self._echo = [ContentDelta(echo)] if echo else []
        calls = params.tool_calling if prompt.chat else None
        self._parser = OutputParser(
            reasoning=model.reasoning_format if prompt.chat else None,
            opened=prompt.opened,
            tool_calls=model.tool_call_format if calls else None,
            new_id=_new_call_id,
            schemas=None
            if calls is None
            else {one.name: one.parameters for one in calls.functions},
        )
        self._stops = StopFilter(params.stops)
        self._skipped = _skipped(model, prompt, calls=calls is not None)
        # A stop that is the name of a control token must reach the stop filter.
        if params.stops:
            self._skipped -= {stop.encode("utf-8", "replace") for stop in params.stops}
        self._empty = params.max_tokens == 0
        self._parallel = calls is None or calls.parallel
        self._pending_tokens: list[Token] | None = None if params.logprobs is None else []
        """Tokens whose text is not emitted yet; None if log probabilities are not requested."""
        self.usage = Usage(prompt_tokens=0, completion_tokens=0)
        """The usage so far."""
        self._calls = 0
        self.ended: Ended | None = None
        self.failure: BackendError | None = None
        """Why it failed; raised after the events before it are yielded."""

    def over(self) -> bool:
        """Return whether the engine can stop."""
        return self.ended is not None or self.failure is not None

    def feed(self, event: EngineEvent) -> Sequence[GenerationEvent]:
        """Return the events that *event* completes; only while not `over`."""
        match event:
            case Token():
                return self._token(event)
            case Started():
                self.usage = Usage(
                    prompt_tokens=event.prompt_tokens,
                    completion_tokens=0,
                    cached_tokens=event.cached_tokens,
                )
                timing = self._recorder.begun(event.restore)
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
        events = list(self._parse(token))
        if (timing := self._recorder.first_token()) is not None:
            events.insert(0, FirstToken(timing))
        if self._stops.stopped is not None or self._over_call_limit:
            events += self._end("stop")
        return events

    def _parse(self, token: Token) -> Sequence[GenerationEvent]:
        """Return the output events that *token* completes."""
        if token.piece in self._skipped and not self._pending_tokens:
            return self._stops.feed(self._skip(token))
        if self._pending_tokens is not None:
            self._pending_tokens.append(token)
        # One that is skipped waits with those before it, whose text is held back.
        text = b"" if token.piece in self._skipped else token.piece
        return self._filter(self._parser.feed(text))

    @property
    def _over_call_limit(self) -> bool:
        return self._calls > 1 and not self._parallel

    def _end(self, reason: Literal["stop", "length"]) -> Sequence[GenerationEvent]:
        # The text that the parsers held back may complete a stop, which then ends the choice.
        rest: list[GenerationEvent] = list(self._filter(self._parser.flush(cut=reason == "length")))
        rest += self._up_to_call_limit(self._stops.flush())
        if self._stops.stopped is not None:
            reason = "stop"
        # As in OpenAI's API: a call that max_tokens cut ends with "length".
        called = self._calls and reason == "stop"
        self.ended = Ended(
            "tool_calls" if called else reason,
            self.usage,
            self._parser.reasoning_tokens,
            self._stops.stopped,
        )
        return [*rest, self.ended]

    def _filter(self, events: Sequence[OutputEvent]) -> Sequence[OutputEvent]:
        """Return *events* with tokens, up to a stop or a call too many."""
        return self._up_to_call_limit(self._stops.feed(self._with_tokens(events)))

    def _up_to_call_limit(self, events: Sequence[OutputEvent]) -> Sequence[OutputEvent]:
        passed: list[OutputEvent] = []
        for event in events:
            self._calls += isinstance(event, ToolCallStart)
            if self._over_call_limit:
                break
            passed.append(event)
        return passed

    def _with_tokens(self, events: Sequence[OutputEvent]) -> Sequence[OutputEvent]:
        """Return *events*, with tokens in content if log probabilities are requested.

        A token belongs to the content that it completes. Tokens of markers belong to nothing.
        """
        if self._pending_tokens and (events or not self._parser.pending):
            events = list(events)
            self._attach(events, tuple(self._pending_tokens))
            self._pending_tokens.clear()
        return events

    def _skip(self, token: Token) -> Sequence[OutputEvent]:
        """Return the events of a skipped token: empty content if logprobs are requested."""
        self._parser.feed(b"")  # counts as a reasoning token within reasoning
        parser = self._parser
        is_content = not (parser.in_reasoning or parser.in_call)
        counts = self._pending_tokens is not None and is_content
        return [ContentDelta("", (token,))] if counts else []

    @staticmethod
    def _attach(events: list[OutputEvent], tokens: tuple[Token, ...]) -> None:
        """Add *tokens* to the last content of *events*, if any."""
        for at in range(len(events) - 1, -1, -1):
            if isinstance(content := events[at], ContentDelta):
                events[at] = replace(content, tokens=tokens)
                return


def _skipped(model: PreparedModel, prompt: Rendered, *, calls: bool) -> frozenset[bytes]:
    """Return the bytes of the tokens that are skipped in the output of *prompt*."""
    if not prompt.chat:
        return model.skipped.text
    return model.skipped.tool_calls if calls else model.skipped.chat


def _new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"
