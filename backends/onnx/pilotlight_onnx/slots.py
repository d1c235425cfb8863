"""Which request gets which slot. Pure: no clock, no native call, no thread.

A slot is a generator with a KV cache of its own. It keeps its tokens when its request ends, so that
the next prompt with the same prefix continues from there; `pilotlight_backend.placement` chooses
the slot. A generator cannot be copied: requests that share a prompt follow each other in one slot,
and another conversation with the same system prompt evaluates it again in its own slot.
"""

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from pilotlight_backend import placement
from pilotlight_backend.placement import common_prefix

AGAIN = 2
"""Tokens at a prompt's end that are always evaluated, in one step. The last one's logits give the
first token of the completion, and ONNX Runtime's kernels round one row differently from several
(`python -m benchmarks.rounding --backend onnx`). So a prompt with a cached prefix gives the same
completion as one without, also with a seed."""

_BLOCK = 256
"""A cache is rounded up to a multiple of this: the next turn of a conversation may fit into it."""


class Sized(Protocol):
    """What the slots need to know of a request."""

    prompt: tuple[int, ...]
    scope: str
    """Whose tokens it may use: those of its own scope."""
    limit: int
    """Tokens that may be sampled."""
    cached_tokens: int
    """Tokens of the prompt that its slot holds."""
    shares_prompt: bool
    """Whether it waits for a busy slot with its prompt instead of evaluating the prompt."""


J = TypeVar("J", bound=Sized)


class Slot(Generic[J]):
    """A generator's tokens, and the tokens that its cache has *room* for."""

    __slots__ = ("held", "id", "is_cleared", "job", "last_used", "prompted", "room", "scope")

    def __init__(self, slot_id: int) -> None:
        self.id = slot_id
        self.held: list[int] = []
        self.scope = ""
        self.is_cleared = False
        """Whether no later request may use what it holds: prompts of its scope were cleared."""
        self.prompted = 0
        """Prompt tokens of its last request; what follows them in `held` is the completion."""
        self.room = 0
        self.job: J | None = None
        self.last_used = 0

    def forget(self) -> None:
        """Record that the slot is empty."""
        self.held = []
        self.room = 0


class Slots(Generic[J]):
    """Gives slots to requests in the order of the queue.

    The exception: a request that shares a prompt steps aside while a busy slot holds the prompt and
    has room for the request. The next in the queue gets the idle slot. The request stays ahead of
    them in the queue, and takes any slot with its prompt that becomes idle. If no slot holds the
    prompt any more, it evaluates the prompt itself.
    """

    def __init__(self, count: int, *, context_length: int, reuse: bool) -> None:
        """*reuse*: a generator can be rewound exactly."""
        self.all: tuple[Slot[J], ...] = tuple(Slot(slot_id) for slot_id in range(count))
        self.queue: deque[J] = deque()
        self._context_length = context_length
        self._reuse = reuse
        self._uses = 0

    @property
    def busy(self) -> list[Slot[J]]:
        """The slots with a request."""
        return [slot for slot in self.all if slot.job is not None]

    def first_choice(self) -> Slot[J] | None:
        """Return the best idle slot for the next request; None without either."""
        job = self._next()
        return None if job is None else self._best_idle(job)

    def _next(self) -> J | None:
        """Return the first queued request that does not step aside, if a slot is idle."""
        if all(slot.job is not None for slot in self.all):
            return None
        return next((job for job in self.queue if not self._steps_aside(job)), None)

    def _best_idle(self, job: J) -> Slot[J]:
        idle = (self._offer(slot, job) for slot in self.all if slot.job is None)
        return self.all[placement.choose(idle, self._uses)]

    def _offer(self, slot: Slot[J], job: J) -> placement.Slot:
        # Of a slot that was cleared, or cannot be reused, nothing is lost.
        held = len(slot.held) if self._reuse and not slot.is_cleared else 0
        common = _common(slot, job) if held else 0
        usable = self._reusable(slot, job)
        return placement.Slot(
            id=slot.id,
            continued=placement.continues(held, slot.prompted, common),
            usable=usable,
            lost=held - common if usable else held,
            last_used=slot.last_used,
        )

    def _steps_aside(self, job: J) -> bool:
        """Return whether *job* waits for a busy slot with its prompt: no idle slot holds it."""
        whole = len(job.prompt) - AGAIN
        if not (self._reuse and job.shares_prompt and whole > 0):
            return False
        awaited = any(
            slot.job is not None
            and slot.job.prompt == job.prompt
            and slot.job.scope == job.scope
            and len(job.prompt) + job.limit <= self._room(slot, slot.job)
            for slot in self.all
        )
        return awaited and self._reusable(self._best_idle(job), job) < whole

    def _room(self, slot: Slot[J], job: J) -> int:
        """Return the room of *slot*, also if the cache for *job* is not made yet."""
        return slot.room if job.cached_tokens else self.room_for(job)

    def _reusable(self, slot: Slot[J], job: J) -> int:
        """Return how many tokens of the prompt *slot* can keep."""
        if not self._reuse or len(job.prompt) + job.limit > slot.room:
            return 0
        return max(min(_common(slot, job), len(job.prompt) - AGAIN), 0)

    def admit(self, slot: Slot[J]) -> J:
        """Give the idle *slot* to the next request, and return the request."""
        job = self._next()
        if job is None:
            raise AssertionError("no request is queued")
        self.queue.remove(job)
        job.cached_tokens = self._reusable(slot, job)
        if slot.is_cleared or slot.scope != job.scope:
            slot.forget()  # *job* may be cancelled before the slot is emptied for its prompt
        slot.scope = job.scope
        slot.is_cleared = False
        slot.job = job
        return job

    def room_for(self, job: J) -> int:
        """Return the size in tokens of a new cache for *job*."""
        need = len(job.prompt) + job.limit
        return min(-(-need // _BLOCK) * _BLOCK, self._context_length)

    def release(self, slot: Slot[J]) -> None:
        """Take the request out of *slot*."""
        self._uses += 1
        slot.last_used = self._uses
        if slot.job is not None:
            slot.prompted = len(slot.job.prompt)
        slot.job = None


def _common(slot: Slot[J], job: J) -> int:
    """Return how many tokens of the prompt *slot* has, as far as *job* may use them."""
    if slot.is_cleared or slot.scope != job.scope:
        return 0
    return common_prefix(slot.held, job.prompt)


def chunks(start: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end of chunks of at most *most* tokens, none of them of a single token.

    A single token is unavoidable if there is only one, or if *most* is below 3.
    """
    while start < end:
        size = min(most, end - start)
        if end - start - size == AGAIN - 1 and size > AGAIN:
            size -= 1
        yield start, start + size
        start += size
