"""A request in the fake engine, and the slot that it runs in."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Condition

from pilotlight_backend.forcing import Forcing
from pilotlight_backend.placement import common_prefix
from pilotlight_backend.timing import RequestTimer
from pilotlight_backend.types import EngineEvent, Finish, FinishReason, GenerateRequest, Usage

Emit = Callable[[EngineEvent], None]


@dataclass(eq=False, slots=True)
class FakeSlot:
    """What `placement` needs to know of a slot, and the sequence that it runs."""

    scope: str = ""
    held: list[int] = field(default_factory=list)
    """The tokens and the numbers of images in its KV cache; kept when a sequence ends, for the next
    one to reuse."""
    prompted: int = 0
    is_cleared: bool = False
    """Whether it is to be emptied when its sequence ends."""
    last_used: int = 0
    sequence: "FakeSequence | None" = None

    def common(self, sequence: "FakeSequence") -> int:
        """Return how many tokens of the prompt it has, as far as *sequence* may use them."""
        is_its_own = self.scope == sequence.request.scope
        return common_prefix(self.held, sequence.prompt) if is_its_own else 0

    def empty(self) -> None:
        """Forget the tokens."""
        self.held, self.prompted, self.is_cleared = [], 0, False


@dataclass(eq=False, slots=True)
class FakeSequence:
    """A submitted request; also its ticket."""

    request: GenerateRequest
    prompt: tuple[int, ...]
    """The request's, with the numbers of its images."""
    emit: Emit
    changed: Condition
    reply: Iterator[int]
    wanted: int
    """The reply's next token; it stays until a guide allows it."""
    stops: frozenset[int]
    timer: RequestTimer
    forcing: Forcing | None = None
    slot: FakeSlot | None = None
    prefilled: bool = False
    cached: int = 0
    completion: int = 0
    cancelled: bool = False

    def cancel(self) -> None:
        """End the request at the next step; see `Ticket`."""
        with self.changed:
            self.cancelled = True
            self.changed.notify_all()

    def finish(self, reason: FinishReason, now: float) -> Finish:
        """Return the last event, at *now*."""
        usage = Usage(
            prompt_tokens=len(self.prompt),
            completion_tokens=self.completion,
            cached_tokens=self.cached,
        )
        return Finish(reason, usage, self.timer.timings(now))
