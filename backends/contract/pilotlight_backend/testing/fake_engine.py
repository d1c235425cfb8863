"""The fake's engine: a real thread, a real queue and real slots, and scripted tokens."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, cycle, islice, repeat
from threading import Condition, Event, Thread, current_thread

from pilotlight_backend import placement
from pilotlight_backend.errors import (
    BackendError,
    ContextLengthExceeded,
    EngineClosed,
    GuideFailed,
    InferenceFailed,
    InvalidParameter,
)
from pilotlight_backend.guide import Guide, Vocabulary
from pilotlight_backend.placement import common_prefix
from pilotlight_backend.protocols import Ticket
from pilotlight_backend.testing.fake_gate import Gate
from pilotlight_backend.testing.fake_model import FakeModel
from pilotlight_backend.testing.fake_tokenizer import reply_of, tokenizer_of
from pilotlight_backend.types import (
    Candidate,
    EngineEvent,
    EngineStats,
    Failed,
    Finish,
    FinishReason,
    GenerateRequest,
    LoadOptions,
    ModelFacts,
    SamplingParams,
    Started,
    Step,
    Timings,
    Token,
    Usage,
)
from pilotlight_backend.validation import check_request
from pilotlight_backend.verbatim import Span, parts

logger = logging.getLogger(__name__)

Emit = Callable[[EngineEvent], None]


@dataclass(eq=False, slots=True)
class _Slot:
    held: list[int] = field(default_factory=list)
    """What its KV cache would hold; kept when a sequence ends, for the next one to reuse."""
    prompted: int = 0
    last_used: int = 0
    sequence: "_Sequence | None" = None


@dataclass(eq=False, slots=True)
class _Sequence:
    request: GenerateRequest
    emit: Emit
    changed: Condition
    reply: Iterator[int]
    wanted: int
    """The reply's next token: it waits until a guide lets it be said."""
    stops: frozenset[int]
    submitted: float
    admitted: float | None = None
    first_token: float | None = None
    slot: _Slot | None = None
    prefilled: bool = False
    cached: int = 0
    completion: int = 0
    cancelled: bool = False

    def cancel(self) -> None:
        with self.changed:
            self.cancelled = True
            self.changed.notify_all()

    def finish(self, reason: FinishReason, now: float) -> Finish:
        admitted = now if self.admitted is None else self.admitted
        first_token = now if self.first_token is None else self.first_token
        return Finish(
            reason,
            Usage(
                prompt_tokens=len(self.request.prompt),
                completion_tokens=self.completion,
                cached_tokens=self.cached,
            ),
            Timings(
                queue=admitted - self.submitted,
                prefill=first_token - admitted,
                decode=now - first_token,
            ),
        )


class FakeEngine:
    """A loaded fake model. *changed* is its backend's, which the gates share.

    A step gives each running request one token and takes one permit of *token_gate*. Admitting,
    cancelling and closing take none: they work while the gate is held.
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
        """Set it to let an engine go on that hangs as its model says, `hang_after`."""
        self._facts = facts
        self._model = model
        self._tokenizer = tokenizer_of(model)
        self._changed = changed
        self._token_gate = token_gate
        self._on_close = on_close
        self._queue: deque[_Sequence] = deque()
        self._slots = [_Slot() for _ in range(options.parallel)]
        self._baked = baked
        self._closing = False
        self._uses = 0
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
        return Vocabulary(pieces, frozenset({self._eos()}))

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
            )
            self._refuse(request)
            sequence = self._sequence(request, emit)
            self.requests.append(request)
            self._queue.append(sequence)
            self._changed.notify_all()
        return sequence

    def _refuse(self, request: GenerateRequest) -> None:
        """Raise what this engine refuses beyond what every backend does."""
        name, longest = self._model.unsupported, self._model.longest_prompt
        if name is not None and getattr(request.sampling, name) != getattr(SamplingParams(), name):
            raise InvalidParameter(f"sampling.{name}", f"{name}: this engine does not support it")
        if longest is not None and len(request.prompt) > longest:
            raise ContextLengthExceeded(len(request.prompt), longest)

    def stats(self) -> EngineStats:
        """Return a snapshot."""
        with self._changed:
            return EngineStats(
                slots=len(self._slots),
                slots_busy=len(self._running()),
                queued=len(self._queue),
                kv_tokens=sum(len(slot.held) for slot in self._slots),
                kv_tokens_running=sum(
                    len(slot.held) for slot in self._slots if slot.sequence is not None
                ),
                kv_capacity=len(self._slots) * self._facts.context_length,
                prompt_tokens=self._prompt_tokens,
                cached_tokens=self._cached_tokens,
                completion_tokens=self._completion_tokens,
                steps=self._steps,
                under_way=self._under_way,
                dead=not self._thread.is_alive(),
            )

    def close(self) -> None:
        """End every request with `Failed(EngineClosed)` and the thread with them."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if current_thread() is not self._thread:  # an emit may close; it cannot wait for itself
            self._thread.join()

    def _eos(self) -> int:
        """Return the token that ends an answer."""
        special = self._tokenizer.special
        return special.get(self._model.eos_token, special["<|endoftext|>"])

    def _sequence(self, request: GenerateRequest, emit: Emit) -> _Sequence:
        eos = self._eos()
        ids = reply_of(self._model, self._tokenizer, request.prompt)
        reply = _endless(ids) if request.ignore_eos else chain(ids, repeat(eos))
        if count := request.min_tokens:
            unstopped = [token for token in ids if token not in request.stop_token_ids]
            reply = chain(islice(_endless(unstopped), count), islice(reply, count, None))
        return _Sequence(
            request=request,
            emit=emit,
            changed=self._changed,
            reply=reply,
            wanted=next(reply),
            stops=request.stop_token_ids | {eos},
            submitted=time.monotonic(),
        )

    # The engine's thread. State changes under the condition, events leave outside of it: an emit
    # may call the engine, and another thread that does must not wait for an emit.

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
            or (bool(self._queue) and len(running) < len(self._slots))
        )

    def _end_cancelled(self) -> None:
        with self._changed:
            now = time.monotonic()
            ended = [one for one in chain(self._running(), self._queue) if one.cancelled]
            events = [(one, self._end(one, one.finish("cancelled", now))) for one in ended]
        self._deliver(events)

    def _admit(self) -> None:
        events: list[tuple[_Sequence, EngineEvent]] = []
        with self._changed:
            while self._queue and len(self._running()) < len(self._slots):
                sequence = self._queue.popleft()
                events.append((sequence, self._start(sequence)))
        self._deliver(events)

    def _prefill(self) -> None:
        """Take the time that prompts take, each in a step of its own."""
        for sequence in self._running() if self._model.prompt_token_seconds else ():
            if not sequence.prefilled:
                sequence.prefilled = True
                self._prefill_one(sequence)

    def _prefill_one(self, sequence: _Sequence) -> None:
        prompt, cached = sequence.request.prompt, sequence.cached
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

    def _start(self, sequence: _Sequence) -> Started:
        prompt = sequence.request.prompt
        slot = self._choose_slot(prompt)
        size = len(self._baked)
        baked = size if size < len(prompt) and prompt[:size] == self._baked else 0
        # To evaluate a prompt takes no time, so who shares one finds it in the slot of the first.
        readable = self._slots if sequence.request.shares_prompt else (slot,)
        held = max(common_prefix(one.held, prompt) for one in readable)
        # The last token is always evaluated: its logits choose the first token of the answer.
        sequence.cached = min(max(held, baked), len(prompt) - 1)
        sequence.slot = slot
        sequence.admitted = time.monotonic()
        slot.sequence = sequence
        slot.held = list(prompt)
        slot.prompted = len(prompt)
        self._cached_tokens += sequence.cached
        self._prompt_tokens += len(prompt) - sequence.cached
        return Started(len(prompt), sequence.cached)

    def _choose_slot(self, prompt: Sequence[int]) -> _Slot:
        offers = (
            placement.Slot(
                id=number,
                continued=placement.continues(
                    len(slot.held), slot.prompted, common := common_prefix(slot.held, prompt)
                ),
                usable=common,
                lost=len(slot.held) - common,
                last_used=slot.last_used,
            )
            for number, slot in enumerate(self._slots)
            if slot.sequence is None
        )
        return self._slots[placement.choose(offers, self._uses)]

    def _misbehave(self) -> None:
        """Do what the model says that native code does to a thread, or to a process."""
        lengths = {sequence.completion for sequence in self._running()}
        if self._model.abort_after in lengths:
            os.abort()
        if self._model.hang_after in lengths:
            self.recovered.wait()

    def _step(self) -> None:
        events: list[tuple[_Sequence, EngineEvent]] = []
        with self._changed:
            if self._model.token_seconds:
                self._changed.wait_for(lambda: self._closing, self._model.token_seconds)
            self._steps += 1
        for sequence in self._running():
            chosen = self._choose(sequence)
            with self._changed:
                events += [(sequence, event) for event in self._sampled(sequence, chosen)]
        self._deliver(events)

    def _choose(self, sequence: _Sequence) -> int | InferenceFailed:
        """Choose the next token. A guide may take its time, so nobody waits for the lock."""
        if sequence.completion == self._model.fail_after:
            return InferenceFailed(f"the model fails after {sequence.completion} tokens")
        guide = sequence.request.guide
        try:
            return sequence.wanted if guide is None else self._guided(sequence, guide)
        except GuideFailed as error:
            return error

    def _sampled(self, sequence: _Sequence, chosen: int | InferenceFailed) -> list[EngineEvent]:
        if isinstance(chosen, InferenceFailed):
            return [self._end(sequence, Failed(chosen))]
        request, token = sequence.request, chosen
        now = time.monotonic()
        wanted = sequence.wanted
        if token == wanted:
            sequence.wanted = next(sequence.reply)
        if sequence.first_token is None:
            sequence.first_token = now
        sequence.completion += 1
        self._completion_tokens += 1
        if token in sequence.stops:
            return [self._end(sequence, sequence.finish("stop", now))]
        if sequence.slot is not None:
            sequence.slot.held.append(token)
        events: list[EngineEvent] = [self._told(token, wanted, request.logprobs)]
        room = self._facts.context_length - len(request.prompt)
        if sequence.completion == min(request.max_tokens, room):
            events.append(self._end(sequence, sequence.finish("length", now)))
        return events

    def _guided(self, sequence: _Sequence, guide: Guide) -> int:
        """Choose the likeliest token that *guide* allows.

        That is the reply's next, else the one that ends the answer, else the lowest.
        """
        request, wanted = sequence.request, sequence.wanted
        # Tests that guide nothing need no numpy.
        import numpy as np  # noqa: PLC0415

        from pilotlight_backend import guided_decoding  # noqa: PLC0415

        scores = -np.arange(self._tokenizer.size, dtype=np.float32)
        scores[self._eos()] = 1
        scores[wanted] = 2
        guided_decoding.restrict(guide, scores)
        if request.ignore_eos:
            guided_decoding.withhold(scores, [self._eos()])
        if sequence.completion < request.min_tokens:
            guided_decoding.withhold(scores, [self._eos(), *request.stop_token_ids])
        token = int(scores.argmax())
        guided_decoding.accept(guide, token, scores)
        return token

    def _told(self, token: int, wanted: int, logprobs: int | None) -> Token:
        """Return *token*; where it is asked for, *wanted* is the likeliest, and its next follow."""
        piece = self._tokenizer.piece
        if logprobs is None:
            return Token(token, piece(token))
        size = self._tokenizer.size
        ids = [(wanted + index) % size for index in range(logprobs)]
        likeliest = tuple(
            Candidate(id=one, piece=piece(one), logprob=-0.5 - index)
            for index, one in enumerate(ids)
        )
        return Token(token, piece(token), -0.5 - (token - wanted) % size, likeliest)

    def _end(self, sequence: _Sequence, event: Finish | Failed) -> Finish | Failed:
        # The slot is free before the last event leaves, so whoever sees it sees a free slot too.
        if sequence.slot is None:
            self._queue.remove(sequence)
        else:
            sequence.slot.sequence = None
            self._uses += 1
            sequence.slot.last_used = self._uses
        return event

    def _end_all(self, error: BackendError) -> None:
        with self._changed:
            ended = [*self._running(), *self._queue]
            events = [(sequence, self._end(sequence, Failed(error))) for sequence in ended]
            for slot in self._slots:
                slot.held = []
        self._deliver(events)

    def _running(self) -> list[_Sequence]:
        return [slot.sequence for slot in self._slots if slot.sequence is not None]

    def _deliver(self, events: Sequence[tuple[_Sequence, EngineEvent]]) -> None:
        for sequence, event in events:
            try:
                sequence.emit(event)
            except Exception:
                # Nobody listens any more; the others must not suffer for it.
                logger.exception("emit raised; the request is cancelled")
                sequence.cancelled = True


def _endless(ids: Sequence[int]) -> Iterator[int]:
    """Repeat *ids*; an empty answer has spaces to say."""
    return cycle(ids or b" ")
