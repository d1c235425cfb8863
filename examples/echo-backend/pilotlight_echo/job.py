"""A request on its way through the engine."""

import threading
import time
from collections.abc import Callable, Sequence

from pilotlight_backend import EngineEvent, Finish, FinishReason, GenerateRequest, Usage
from pilotlight_backend.timing import RequestTimer
from pilotlight_backend.token_sampler import TokenSampler
from pilotlight_backend.validation import token_ids
from pilotlight_echo import tokenizer


class Job:
    """A request, and how far it is."""

    def __init__(
        self,
        request: GenerateRequest,
        emit: Callable[[EngineEvent], None],
        *,
        context_length: int,
        changed: threading.Condition,
    ) -> None:
        self.prompt = token_ids(request.prompt)
        self.scope = request.scope
        self.emit = emit
        self.limit = min(request.max_tokens, context_length - len(request.prompt))
        self.stops = request.stop_token_ids | {tokenizer.END}
        self.sampler = TokenSampler(request, ends=(tokenizer.END,), context_length=context_length)
        self.pending: Sequence[int] = ()
        """Tokens to evaluate: the rest of the prompt, then the latest token of the answer."""
        self.cached_tokens = 0
        self.completion_tokens = 0
        self.cancelled = False
        self.timer = RequestTimer(time.perf_counter())
        self._changed = changed

    def cancel(self) -> None:
        """End the request at the next step; see `Ticket`."""
        with self._changed:
            self.cancelled = True
            self._changed.notify_all()

    def start(self, cached_tokens: int) -> None:
        """Note that the request has a slot with *cached_tokens* tokens of its prompt."""
        self.timer.admitted = time.perf_counter()
        self.cached_tokens = cached_tokens
        self.pending = self.prompt[cached_tokens:]

    def count_token(self) -> None:
        """Note that a token was sampled."""
        if self.timer.first_token is None:
            self.timer.first_token = time.perf_counter()
        self.completion_tokens += 1

    @property
    def prefills(self) -> bool:
        """Whether its prompt is still being evaluated."""
        return self.timer.first_token is None

    def finish(self, reason: FinishReason) -> Finish:
        """Return its last event."""
        usage = Usage(
            prompt_tokens=len(self.prompt),
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
        )
        return Finish(reason, usage, self.timer.timings(time.perf_counter()))
