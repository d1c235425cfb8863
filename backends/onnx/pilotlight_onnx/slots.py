"""Who gets which slot. Pure: no clock, no native call, no thread.

A slot is one sequence's place: a generator with a cache of its own. It keeps what it holds when
its request ends, so that the next prompt that begins the same way starts from there:
`pilotlight_backend.placement` is the rule. A generator cannot be copied: requests that share a
prompt follow each other in one slot, and another conversation under the same system prompt
evaluates that in a slot of its own.
"""

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from pilotlight_backend import placement
from pilotlight_backend.placement import common_prefix

AGAIN = 2
"""Tokens of a prompt that are evaluated in any case, together: the last one's logits choose the
first of the answer, and of one row alone ONNX Runtime's kernels round otherwise than of several
(`python -m benchmarks.rounding --backend onnx`). So a prompt that is read anew and one whose
beginning was kept have the same answer, also with a seed."""

_BLOCK = 256
"""Tokens that a cache is rounded up to: room for the next turn of the same conversation."""


class Sized(Protocol):
    """What is to be known of a request."""

    prompt: tuple[int, ...]
    limit: int
    """Tokens that may be sampled."""
    cached_tokens: int
    """Tokens of the prompt that its slot holds already."""
    shares_prompt: bool
    """Whether it would rather wait for a slot that has its prompt than evaluate it."""


J = TypeVar("J", bound=Sized)


class Slot(Generic[J]):
    """A place for one sequence: what it holds, and for how many tokens it has *room*."""

    __slots__ = ("held", "id", "job", "last_used", "prompted", "room")

    def __init__(self, slot_id: int) -> None:
        self.id = slot_id
        self.held: list[int] = []
        self.prompted = 0
        """Tokens of its last request's prompt; what it holds beyond them is the answer."""
        self.room = 0
        self.job: J | None = None
        self.last_used = 0

    def forget(self) -> None:
        """Record that the slot holds nothing any more."""
        self.held = []
        self.room = 0


class Slots(Generic[J]):
    """Gives slots to requests in the order they came.

    But a request whose prompt is in a busy slot, and which may wait for that, steps aside: the next
    in the queue gets the idle slot. It keeps its place, so it is before all of those when its slot
    is idle. Another slot with its prompt serves it as well, and where none has it any more it reads
    the prompt. So does one whose answer may be longer than the busy slot has room for.
    """

    def __init__(self, count: int, *, context_length: int, reuse: bool) -> None:
        """*reuse* says whether what a slot holds can be cut back exactly."""
        self.all: tuple[Slot[J], ...] = tuple(Slot(slot_id) for slot_id in range(count))
        self.queue: deque[J] = deque()
        self._context_length = context_length
        self._reuse = reuse
        self._uses = 0

    @property
    def busy(self) -> list[Slot[J]]:
        """The slots that have a request."""
        return [slot for slot in self.all if slot.job is not None]

    def first_choice(self) -> Slot[J] | None:
        """Return the idle slot that the next request is to have, if there are both."""
        job = self._next()
        return None if job is None else self._best_idle(job)

    def _next(self) -> J | None:
        """Return the first in the queue that does not step aside, where a slot is idle."""
        if all(slot.job is not None for slot in self.all):
            return None
        return next((job for job in self.queue if not self._steps_aside(job)), None)

    def _best_idle(self, job: J) -> Slot[J]:
        idle = (self._offer(slot, job) for slot in self.all if slot.job is None)
        return self.all[placement.choose(idle, self._uses)]

    def _offer(self, slot: Slot[J], job: J) -> placement.Slot:
        held = len(slot.held) if self._reuse else 0  # worth nothing where nothing is reused
        common = common_prefix(slot.held, job.prompt) if held else 0
        usable = self._reusable(slot, job)
        return placement.Slot(
            id=slot.id,
            continued=placement.continues(held, slot.prompted, common),
            usable=usable,
            lost=held - common if usable else held,
            last_used=slot.last_used,
        )

    def _steps_aside(self, job: J) -> bool:
        """Tell whether *job* is to wait for a busy slot with its prompt, and none that is idle."""
        whole = len(job.prompt) - AGAIN
        if not (self._reuse and job.shares_prompt and whole > 0):
            return False
        awaited = any(
            slot.job is not None
            and slot.job.prompt == job.prompt
            and len(job.prompt) + job.limit <= self._room(slot, slot.job)
            for slot in self.all
        )
        return awaited and self._reusable(self._best_idle(job), job) < whole

    def _room(self, slot: Slot[J], job: J) -> int:
        """Return the room of *slot*, also where its cache for *job* is not yet made."""
        return slot.room if job.cached_tokens else self.room_for(job)

    def _reusable(self, slot: Slot[J], job: J) -> int:
        """Return how many tokens of the prompt need not be evaluated again."""
        if not self._reuse or len(job.prompt) + job.limit > slot.room:
            return 0
        return max(min(common_prefix(slot.held, job.prompt), len(job.prompt) - AGAIN), 0)

    def admit(self, slot: Slot[J]) -> J:
        """Give *slot*, an idle one, to the next request."""
        job = self._next()
        if job is None:
            raise AssertionError("no request is queued")
        self.queue.remove(job)
        job.cached_tokens = self._reusable(slot, job)
        slot.job = job
        return job

    def room_for(self, job: J) -> int:
        """Return the tokens that a new cache for *job* is to hold."""
        need = len(job.prompt) + job.limit
        return min(-(-need // _BLOCK) * _BLOCK, self._context_length)

    def release(self, slot: Slot[J]) -> None:
        """Take the request out of *slot*."""
        self._uses += 1
        slot.last_used = self._uses
        if slot.job is not None:
            slot.prompted = len(slot.job.prompt)
        slot.job = None


def chunks(start: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut tokens *start* to *end* of a prompt into steps of *most* at the most, none of one alone.

    Where there is but one token, or a step may have no more than two, there is.
    """
    while start < end:
        size = min(most, end - start)
        if end - start - size == AGAIN - 1 and size > AGAIN:
            size -= 1
        yield start, start + size
        start += size
