"""What the fake's engines that embed and that rank share: a real thread and a real queue."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, Event, Thread, current_thread
from typing import Any, Literal

from pilotlight_backend.errors import ContextLengthExceeded, EngineClosed, InferenceFailed
from pilotlight_backend.protocols import Ticket
from pilotlight_backend.testing.fake_gate import Gate
from pilotlight_backend.testing.fake_model import FakeModel
from pilotlight_backend.testing.fake_tokenizer import tokenizer_of
from pilotlight_backend.timing import RequestTimer
from pilotlight_backend.types import (
    Embedded,
    EngineStats,
    Failed,
    Finish,
    LoadOptions,
    ModelFacts,
    Scored,
    Started,
    Usage,
)
from pilotlight_backend.validation import check_inputs

logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Request:
    inputs: Sequence[Sequence[int]]
    emit: Callable[[Any], None]
    changed: Condition
    timer: RequestTimer
    taken: int = 0
    cancelled: bool = False

    @property
    def tokens(self) -> int:
        return sum(map(len, self.inputs))

    def cancel(self) -> None:
        with self.changed:
            self.cancelled = True
            self.changed.notify_all()


class FakePoolingEngine:
    """A loaded fake model with one output for each input; a subclass says which.

    *changed* is its backend's condition, which the gates share.
    A step takes one input of each running request and takes one permit of *token_gate*. Starting,
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
        on_close: Callable[[Any], None],
    ) -> None:
        self.options = options
        self.requests: list[tuple[tuple[int, ...], ...]] = []
        """The inputs of every request that was accepted, as it arrived."""
        self.closed = Event()
        """Set when a close is complete: every request has ended, the thread is about to."""
        self._facts = facts
        self._model = model
        self._tokenizer = tokenizer_of(model)
        eos = self._tokenizer.special.get(model.eos_token)
        self._end_ids = [] if eos is None else [eos]
        self._changed = changed
        self._token_gate = token_gate
        self._on_close = on_close
        self._queue: list[_Request] = []
        self._running: list[_Request] = []
        self._closing = False
        self._prompt_tokens = self._steps = 0
        self._thread = Thread(target=self._serve, name=f"fake-{facts.path.stem}", daemon=True)
        self._thread.start()

    @property
    def facts(self) -> ModelFacts:
        """The model's facts, with the context length that is in force."""
        return self._facts

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return an id for each byte of *text*, and with *special* for each special token."""
        return self._tokenizer.encode(text, special=special)

    def output_of(self, tokens: Sequence[int]) -> Embedded | Scored:
        """Return the event of an input that is done."""
        raise NotImplementedError

    def _submit(self, inputs: Sequence[Sequence[int]], emit: Callable[[Any], None]) -> Ticket:
        """Queue *inputs*; raises what cannot run."""
        with self._changed:
            if self._closing:
                raise EngineClosed("the engine is closed")
            check_inputs(
                inputs,
                context_length=self._facts.context_length,
                vocabulary_size=self._tokenizer.size,
            )
            longest = self._model.longest_prompt
            for one in inputs:
                if longest is not None and len(one) > longest:
                    raise ContextLengthExceeded(len(one), longest)
            request = _Request(inputs, emit, self._changed, RequestTimer(time.monotonic()))
            self.requests.append(tuple(map(tuple, inputs)))
            self._queue.append(request)
            self._changed.notify_all()
        return request

    def stats(self) -> EngineStats:
        """Return a snapshot."""
        with self._changed:
            return EngineStats(
                slots=self.options.parallel,
                slots_busy=len(self._running),
                queued=len(self._queue),
                kv_tokens=0,
                kv_capacity=0,
                prompt_tokens=self._prompt_tokens,
                cached_tokens=0,
                completion_tokens=0,
                steps=self._steps,
                dead=not self._thread.is_alive(),
            )

    def close(self) -> None:
        """End every request with `Failed(EngineClosed)` and the thread with them."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if current_thread() is not self._thread:  # an emit may close; it cannot wait for itself
            self._thread.join()

    # The engine's thread. State changes under the condition, events leave outside of it.

    def _serve(self) -> None:
        while self._wait_for_work():
            self._end_cancelled()
            self._start()
            if self._running and self._token_gate.wait(unless=self._has_news):
                self._step()
        closed = Failed(EngineClosed("the engine was closed"))
        for request in [*self._running, *self._queue]:
            self._end(request, closed)
        self._on_close(self)
        self.closed.set()

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._queue or self._running)
            return not self._closing

    def _has_news(self) -> bool:
        waiting = [*self._running, *self._queue]
        free = len(self._running) < self.options.parallel
        return (
            self._closing or any(one.cancelled for one in waiting) or (free and bool(self._queue))
        )

    def _end_cancelled(self) -> None:
        with self._changed:
            ended = [one for one in [*self._running, *self._queue] if one.cancelled]
        for request in ended:
            self._end(request, self._finish(request, "cancelled"))

    def _start(self) -> None:
        with self._changed:
            count = self.options.parallel - len(self._running)
            started, self._queue = self._queue[:count], self._queue[count:]
            self._running += started
        for request in started:
            request.timer.admitted = time.monotonic()
            self._emit(request, Started(request.tokens, 0))

    def _step(self) -> None:
        if self._model.token_seconds:
            with self._changed:
                self._changed.wait_for(lambda: self._closing, self._model.token_seconds)
        self._steps += 1
        for request in list(self._running):
            self._take_next(request)

    def _take_next(self, request: _Request) -> None:
        if request.taken == self._model.fail_after:
            error = InferenceFailed(f"the model fails after {request.taken} inputs")
            self._end(request, Failed(error))
            return
        tokens = request.inputs[request.taken]
        request.taken += 1
        self._prompt_tokens += len(tokens)
        self._emit(request, self.output_of(tokens))
        if request.taken == len(request.inputs):
            request.timer.first_token = time.monotonic()
            self._end(request, self._finish(request, "stop"))

    def _finish(self, request: _Request, reason: Literal["stop", "cancelled"]) -> Finish:
        usage = Usage(prompt_tokens=request.tokens, completion_tokens=0)
        return Finish(reason, usage, request.timer.timings(time.monotonic()))

    def _end(self, request: _Request, event: Finish | Failed) -> None:
        # The slot is free before the last event is emitted: its client may submit at once.
        with self._changed:
            (self._running if request in self._running else self._queue).remove(request)
        self._emit(request, event)

    def _emit(self, request: _Request, event: object) -> None:
        try:
            request.emit(event)
        except Exception:
            # Nobody listens any more; the others must not suffer for it.
            logger.exception("emit raised; the request is cancelled")
            request.cancelled = True
