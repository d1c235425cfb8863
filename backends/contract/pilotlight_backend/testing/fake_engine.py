"""The fake's engine: a real thread, a real queue and real slots, and scripted tokens."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from threading import Condition, Event, Thread, current_thread

from pilotlight_backend.errors import (
    BackendError,
    ContextLengthExceeded,
    EngineClosed,
    InferenceFailed,
    InvalidParameter,
)
from pilotlight_backend.forcing import Forcing
from pilotlight_backend.guide import Vocabulary
from pilotlight_backend.image import Image, numbers
from pilotlight_backend.protocols import Ticket
from pilotlight_backend.spelling import Spelling
from pilotlight_backend.testing.fake_gate import Gate
from pilotlight_backend.testing.fake_model import FakeModel
from pilotlight_backend.testing.fake_sampler import FakeSampler
from pilotlight_backend.testing.fake_sequence import Emit, FakeSequence
from pilotlight_backend.testing.fake_slots import FakeSlots
from pilotlight_backend.testing.fake_tokenizer import tokenizer_of
from pilotlight_backend.timing import RequestTimer
from pilotlight_backend.types import (
    EngineEvent,
    EngineStats,
    Failed,
    Finish,
    GenerateRequest,
    LoadOptions,
    ModelFacts,
    PromptPart,
    SamplingParams,
    Started,
    Step,
)
from pilotlight_backend.validation import NO_IMAGES, check_request
from pilotlight_backend.verbatim import Span, parts

logger = logging.getLogger(__name__)

_MOST_PIXELS = 10_000
"""To a side of an image."""


class FakeEngine:
    """A loaded fake model. *changed* is its backend's, which the gates share.

    A step gives each running request one token, and those that its guide forces, and takes one
    permit of *token_gate*. Admitting, cancelling and closing take none: they work while the gate is
    held.
    """

    def __init__(
        self,
        model: FakeModel,
        facts: ModelFacts,
        options: LoadOptions,
        *,
        changed: Condition,
        token_gate: Gate,
        on_close: Callable[["FakeEngine"], None],
        baked: tuple[int, ...] = (),
    ) -> None:
        self.options = options
        self.requests: list[GenerateRequest] = []
        """Every request that was accepted, as it arrived."""
        self.closed = Event()
        """Set when a close is complete: every request has ended, the thread is about to."""
        self.recovered = Event()
        """Set it to release an engine that hangs by its model's `hang_after`."""
        self._facts = facts
        self._model = model
        self._tokenizer = tokenizer_of(model)
        self._sampler = FakeSampler(model, self._tokenizer)
        self._spelling = Spelling(self.vocabulary(), partial(self.tokenize, special=True))
        self._changed = changed
        self._token_gate = token_gate
        self._on_close = on_close
        self._queue: deque[FakeSequence] = deque()
        self._slots = FakeSlots(options, facts, baked)
        self._closing = False
        self._prompt_tokens = self._cached_tokens = self._completion_tokens = self._steps = 0
        self._under_way: tuple[Step, ...] = ()
        self._thread = Thread(target=self._serve, name=f"fake-{facts.path.stem}", daemon=True)
        self._thread.start()

    @property
    def facts(self) -> ModelFacts:
        """The model's facts, with the context length that is in force."""
        return self._facts

    def tokenize(self, text: str, *, special: bool, verbatim: Sequence[Span] = ()) -> list[int]:
        """Return an id for each byte of *text*, and with *special* for each special token."""
        return [
            token
            for part, stays in parts(text, verbatim)
            for token in self._tokenizer.encode(part, special=special and not stays)
        ]

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text of *ids*, for a test to say what a prompt held."""
        return self._tokenizer.decode(ids)

    def vocabulary(self) -> Vocabulary:
        """Return every token; the one that ends the model's answers is the only such."""
        pieces = tuple(map(self._tokenizer.piece, range(self._tokenizer.size)))
        return Vocabulary(pieces, frozenset({self._sampler.eos}))

    def submit(self, request: GenerateRequest, emit: Emit) -> Ticket:
        """Queue *request*; see `Engine.submit`."""
        with self._changed:
            if self._closing:
                raise EngineClosed("the engine is closed")
            check_request(
                request,
                context_length=self._facts.context_length,
                vocabulary_size=self._tokenizer.size,
                sampling=self._facts.sampling,
                image_tokens=self._tokens_of if self._facts.sees else None,
            )
            self._refuse(request)
            sequence = self._sequence(request, emit)
            self.requests.append(request)
            self._queue.append(sequence)
            self._changed.notify_all()
        return sequence

    def image_tokens(self, width: int, height: int) -> int:
        """Return what the model's file says, for any size."""
        if not self._model.image_tokens:
            raise InvalidParameter("prompt", NO_IMAGES)
        if max(width, height) > _MOST_PIXELS:
            size = f"{width} x {height} pixels"
            raise InvalidParameter(
                "prompt", f"an image of {size}: at most {_MOST_PIXELS} to a side"
            )
        return self._model.image_tokens

    def _tokens_of(self, image: Image) -> int:
        return self.image_tokens(image.width, image.height)

    def _expand(self, prompt: Sequence[PromptPart]) -> tuple[int, ...]:
        """Return *prompt* with the numbers of its images."""
        expanded: list[int] = []
        for part in prompt:
            expanded += (
                [part] if isinstance(part, int) else numbers(part.digest, self._tokens_of(part))
            )
        return tuple(expanded)

    def _refuse(self, request: GenerateRequest) -> None:
        """Raise what this model's file says that its engine refuses."""
        name, longest = self._model.unsupported, self._model.longest_prompt
        if name is not None and getattr(request.sampling, name) != getattr(SamplingParams(), name):
            raise InvalidParameter(f"sampling.{name}", f"{name}: this engine does not support it")
        if longest is not None and len(request.prompt) > longest:
            raise ContextLengthExceeded(len(request.prompt), longest)

    def stats(self) -> EngineStats:
        """Return a snapshot."""
        with self._changed:
            return EngineStats(
                slots=len(self._slots.all),
                slots_busy=len(self._running()),
                queued=len(self._queue),
                kv_tokens=self._slots.tokens(self._slots.all),
                kv_tokens_running=self._slots.tokens(self._slots.busy),
                kv_capacity=len(self._slots.all) * self._facts.context_length,
                prompt_tokens=self._prompt_tokens,
                cached_tokens=self._cached_tokens,
                completion_tokens=self._completion_tokens,
                steps=self._steps,
                under_way=self._under_way,
                dead=not self._thread.is_alive(),
                prompt_cache=self._slots.prompts.stats(),
            )

    def save_prompts(self, seconds: float) -> None:
        """Write what idle slots hold to storage; see `CachingEngine`."""
        with self._changed:
            self._slots.save(seconds)

    def clear_prompts(self, owner: str | None = None) -> None:
        """Forget prompts; see `CachingEngine`."""
        with self._changed:
            self._slots.clear(owner)

    def close(self) -> None:
        """End every request with `Failed(EngineClosed)` and the thread with them."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if current_thread() is not self._thread:  # an emit may close; it cannot wait for itself
            self._thread.join()
        self._slots.prompts.close()

    def _sequence(self, request: GenerateRequest, emit: Emit) -> FakeSequence:
        reply = self._sampler.reply(request)
        return FakeSequence(
            prompt=self._expand(request.prompt),
            request=request,
            emit=emit,
            changed=self._changed,
            reply=reply,
            wanted=next(reply),
            stops=request.stop_token_ids | {self._sampler.eos},
            timer=RequestTimer(time.monotonic()),
            forcing=Forcing.of(request, self._spelling),
        )

    # The engine's thread. State changes under the condition. Events are emitted without it: emit
    # may call the engine, and another thread that does must not wait for emit.

    def _serve(self) -> None:
        while self._wait_for_work():
            self._end_cancelled()
            self._admit()
            self._prefill()
            if self._running() and self._token_gate.wait(unless=self._has_news):
                self._under_way = (Step(self._steps + 1, 0),)
                self._misbehave()
                self._step()
                self._under_way = ()
        self._end_all(EngineClosed("the engine was closed"))
        self._on_close(self)
        self.closed.set()

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._queue or self._running())
            return not self._closing

    def _has_news(self) -> bool:
        running = self._running()
        return (
            self._closing
            or any(sequence.cancelled for sequence in chain(running, self._queue))
            or (bool(self._queue) and len(running) < len(self._slots.all))
        )

    def _end_cancelled(self) -> None:
        with self._changed:
            now = time.monotonic()
            ended = [one for one in chain(self._running(), self._queue) if one.cancelled]
            events = [(one, self._end(one, one.finish("cancelled", now))) for one in ended]
        self._deliver(events)

    def _admit(self) -> None:
        events: list[tuple[FakeSequence, EngineEvent]] = []
        with self._changed:
            while self._queue and len(self._running()) < len(self._slots.all):
                sequence = self._queue.popleft()
                events.append((sequence, self._start(sequence)))
        self._deliver(events)

    def _prefill(self) -> None:
        """Take the time that prompts take, each in a step of its own."""
        for sequence in self._running() if self._model.prompt_token_seconds else ():
            if not sequence.prefilled:
                sequence.prefilled = True
                self._prefill_one(sequence)

    def _prefill_one(self, sequence: FakeSequence) -> None:
        prompt, cached = sequence.prompt, sequence.cached
        with self._changed:
            self._steps += 1
            self._under_way = (Step(self._steps, len(prompt) - cached),)
            ended = self._changed.wait_for(
                lambda: self._closing or sequence.cancelled,
                self._model.prompt_token_seconds * (len(prompt) - cached),
            )
            if ended and sequence.slot is not None:
                sequence.slot.held = list(prompt[:cached])
            self._under_way = ()

    def _start(self, sequence: FakeSequence) -> Started:
        self._slots.admit(sequence)
        self._cached_tokens += sequence.cached
        self._prompt_tokens += len(sequence.prompt) - sequence.cached
        return Started(len(sequence.prompt), sequence.cached, sequence.timer.restore)

    def _misbehave(self) -> None:
        """Abort the process or hang, as the model's file says."""
        lengths = {sequence.completion for sequence in self._running()}
        if self._model.abort_after in lengths:
            os.abort()
        if self._model.hang_after in lengths:
            self.recovered.wait()

    def _step(self) -> None:
        events: list[tuple[FakeSequence, EngineEvent]] = []
        with self._changed:
            if self._model.token_seconds:
                self._changed.wait_for(lambda: self._closing, self._model.token_seconds)
            self._steps += 1
        for sequence in self._running():
            # Without the lock: a guide may be slow.
            for chosen in self._sampler.step(sequence):
                with self._changed:
                    events += [(sequence, event) for event in self._sampled(sequence, chosen)]
                if isinstance(events[-1][1], Finish | Failed):
                    break
        self._deliver(events)

    def _sampled(self, sequence: FakeSequence, chosen: int | InferenceFailed) -> list[EngineEvent]:
        if isinstance(chosen, InferenceFailed):
            return [self._end(sequence, Failed(chosen))]
        request, token = sequence.request, chosen
        now = time.monotonic()
        wanted = sequence.wanted
        if token == wanted:
            sequence.wanted = next(sequence.reply)
        if sequence.timer.first_token is None:
            sequence.timer.first_token = now
        sequence.completion += 1
        self._completion_tokens += 1
        if token in sequence.stops:
            return [self._end(sequence, sequence.finish("stop", now))]
        if sequence.slot is not None:
            sequence.slot.held.append(token)
        events: list[EngineEvent] = [self._sampler.event(token, wanted, request.logprobs)]
        room = self._facts.context_length - len(sequence.prompt)
        if sequence.completion == min(request.max_tokens, room):
            events.append(self._end(sequence, sequence.finish("length", now)))
        return events

    def _end(self, sequence: FakeSequence, event: Finish | Failed) -> Finish | Failed:
        # The slot is free before the last event is emitted: its client may submit at once.
        if sequence.slot is None:
            self._queue.remove(sequence)
        else:
            self._slots.release(sequence.slot)
        return event

    def _end_all(self, error: BackendError) -> None:
        with self._changed:
            ended = [*self._running(), *self._queue]
            events = [(sequence, self._end(sequence, Failed(error))) for sequence in ended]
            self._slots.forget()
        self._deliver(events)

    def _running(self) -> list[FakeSequence]:
        return self._slots.running

    def _deliver(self, events: Sequence[tuple[FakeSequence, EngineEvent]]) -> None:
        for sequence, event in events:
            try:
                sequence.emit(event)
            except Exception:
                # The listener is broken; other requests are not affected.
                logger.exception("emit raised; the request is cancelled")
                sequence.cancelled = True
