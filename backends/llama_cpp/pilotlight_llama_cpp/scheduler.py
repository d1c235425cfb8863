"""Who is evaluated in the next step. Pure: no clock, no native call, no thread.

A slot is one sequence's place in the KV cache. It keeps what it holds when its request ends, so
that the next prompt that begins the same way starts from there. A baked prompt is as good as held
by every idle slot: it can be put into any. So is what a busy slot holds, where it can be copied.
"""

from collections import deque
from collections.abc import Sequence as Tokens
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

_WORTH_COPYING = 64
"""Prompt tokens for which a busy slot is copied. llama.cpp copies the whole slot: 4,096 tokens of
Qwen3-0.6B took 25 to 60 ms, as long as one to three tokens of a prompt; longer slots take more."""


class Sequence:
    """One request's state: a prompt that is evaluated in chunks, then a token at a time."""

    __slots__ = (
        "cached_tokens",
        "completion_tokens",
        "copied_from",
        "from_baked",
        "limit",
        "pending",
        "prompt",
        "shares_prompt",
        "slot",
    )

    def __init__(self, prompt: tuple[int, ...], limit: int, *, shares_prompt: bool = False) -> None:
        self.prompt = prompt
        self.shares_prompt = shares_prompt
        """Whether it waits for another one that reads this prompt, and copies it."""
        self.limit = limit
        """Tokens that may be sampled: the request's, or what the context leaves."""
        self.slot: Slot | None = None
        self.cached_tokens = 0
        self.from_baked = False
        """Whether the cached tokens are those of the baked prompt, and not what the slot held."""
        self.copied_from: int | None = None
        """The slot that the cached tokens are copied from, if they are."""
        self.completion_tokens = 0
        self.pending: int | None = None
        """The token that was sampled last, and is evaluated next."""


class Slot:
    """A place in the KV cache for one sequence."""

    __slots__ = ("held", "id", "last_used", "sequence")

    def __init__(self, slot_id: int) -> None:
        self.id = slot_id
        self.held: list[int] = []
        self.sequence: Sequence | None = None
        self.last_used = 0


S = TypeVar("S", bound=Sequence)


class Part(NamedTuple, Generic[S]):
    """A run of one sequence's tokens in a batch; *sampled* where its last one gets a successor."""

    sequence: S
    slot: int
    start: int
    tokens: Tokens[int]
    sampled: bool


class Scheduler(Generic[S]):
    """Gives slots to sequences in the order they came, and plans each step's batch."""

    def __init__(
        self, *, slots: int, chunk: int, baked: tuple[int, ...] = (), copies: bool = False
    ) -> None:
        """*baked* is the prompt that the first slot holds from the start.

        *copies* says whether a slot can be copied, and the copy cut back.
        """
        self.slots = tuple(Slot(slot_id) for slot_id in range(slots))
        self.slots[0].held.extend(baked)
        self.queue: deque[S] = deque()
        self.active: list[S] = []
        """The sequences that have a slot, in the order they got it."""
        self.waiting: list[S] = []
        """Those for whom a slot is kept, any one, until the prompt that they share is read."""
        self._copies = copies
        self._chunk = chunk
        self._baked = baked
        self._uses = 0

    def enqueue(self, sequence: S) -> None:
        """Put *sequence* at the end of the queue."""
        self.queue.append(sequence)

    @property
    def has_work(self) -> bool:
        """Whether anybody is served or waits."""
        return bool(self.active or self.waiting or self.queue)

    @property
    def taken(self) -> int:
        """How many slots are in use or kept for somebody."""
        return len(self.active) + len(self.waiting)

    def admit(self) -> list[S]:
        """Give idle slots to the first in the queue; return who starts.

        Whose prompt is just being read starts when it is, in the slot that is kept for it. If the
        reader ends before, the first of those who wait for it reads on.
        """
        while self.queue and self.taken < len(self.slots):
            self.waiting.append(self.queue.popleft())
        admitted: list[S] = []
        for sequence in tuple(self.waiting):
            if not self._is_being_read(sequence):
                self.waiting.remove(sequence)
                self._place(sequence)
                admitted.append(sequence)
        return admitted

    def _is_being_read(self, sequence: S) -> bool:
        """Tell whether the prompt that *sequence* shares will soon be there to be copied."""
        if not (self._copies and sequence.shares_prompt):
            return False
        needed = len(sequence.prompt) - 1
        return any(
            len(_slot(other).held) < needed and other.prompt == sequence.prompt
            for other in self.active
        )

    def _place(self, sequence: S) -> None:
        """Choose the idle slot that holds most of the prompt, else the one unused for longest.

        A slot that holds less than the baked prompt, or than a busy slot, can be given that: it
        costs a copy. So to hold no more is no reason to lose what another request may continue.
        """
        prompt = sequence.prompt
        idle = [
            (_common_prefix(slot.held, prompt), -slot.last_used, slot)
            for slot in self.slots
            if slot.sequence is None
        ]
        baked = self._baked_part(prompt)
        copied, source = self._copied_part(sequence, max(baked, *(held for held, _, _ in idle)))
        given = max(baked, copied)
        held, _, slot = max(idle, key=lambda choice: (max(choice[0], given), choice[1]))
        sequence.from_baked = held < given == baked
        sequence.copied_from = source if held < given == copied else None
        # The last token is evaluated in any case: its logits choose the first of the answer.
        sequence.cached_tokens = min(max(held, given), len(prompt) - 1)
        slot.held[:] = prompt[: sequence.cached_tokens]
        slot.sequence, sequence.slot = sequence, slot
        self.active.append(sequence)

    def _copied_part(self, sequence: S, otherwise: int) -> tuple[int, int | None]:
        """Return how much of the prompt a busy slot holds, and which.

        Nothing, where that is hardly more than what there is *otherwise*.
        """
        if not self._copies:
            return 0, None
        most = len(sequence.prompt) - 1
        copied, source = max(
            (
                (min(_common_prefix(slot.held, sequence.prompt), most), slot.id)
                for slot in self.slots
                if slot.sequence is not None
            ),
            default=(0, None),
        )
        gain = copied - otherwise
        worth = gain > 0 if sequence.shares_prompt else gain >= _WORTH_COPYING
        return (copied, source) if worth else (0, None)

    def _baked_part(self, prompt: tuple[int, ...]) -> int:
        """Return how much of *prompt* is the baked one: all of that, or nothing."""
        length = len(self._baked)
        return length if length < len(prompt) and prompt[:length] == self._baked else 0

    def plan(self) -> list[Part[S]]:
        """Return the next batch.

        One token of each sequence that decodes, then at most a chunk of prompt tokens, the
        earliest prompt first: a prompt of any length delays a running stream by one chunk. Behind a
        reused prefix the first step goes to where a chunk would have ended without it, so that all
        further ones are the same, and rounded alike.

        The parts come in the order of their slots: llama.cpp evaluates together what stands in a
        batch with slot numbers that rise by one (llama-batch.cpp, split_equal), and reads all
        weights again for whatever does not. Eight streams in disorder took twice as long.
        """
        parts: list[Part[S]] = []
        room = self._chunk
        for sequence in self.active:
            slot = _slot(sequence)
            start = len(slot.held)
            if sequence.pending is not None:
                parts.append(Part(sequence, slot.id, start, (sequence.pending,), sampled=True))
            elif room:
                whole = self._chunk
                if start == sequence.cached_tokens:
                    whole -= start % self._chunk
                tokens = sequence.prompt[start : start + min(room, whole)]
                room -= len(tokens)
                ends = start + len(tokens) == len(sequence.prompt)
                parts.append(Part(sequence, slot.id, start, tokens, sampled=ends))
        return sorted(parts, key=attrgetter("slot"))

    def evaluated(self, part: Part[S]) -> None:
        """Record that the cache now holds *part*."""
        _slot(part.sequence).held.extend(part.tokens)

    def sampled(self, sequence: S, token: int) -> None:
        """Record the token that follows what *sequence* has in the cache."""
        sequence.pending = token
        sequence.completion_tokens += 1

    def release(self, sequence: S) -> None:
        """Take *sequence* out of its slot or the queue; what the slot holds stays for reuse."""
        slot = sequence.slot
        if slot is None:
            (self.waiting if sequence in self.waiting else self.queue).remove(sequence)
            return
        self._uses += 1
        slot.last_used = self._uses
        slot.sequence = sequence.slot = None
        self.active.remove(sequence)

    def forget(self, slot: Slot) -> None:
        """Record that *slot* holds nothing any more; its sequence, if any, starts over."""
        slot.held.clear()
        if slot.sequence is not None:
            slot.sequence.cached_tokens = 0

    def idle_holders(self) -> list[Slot]:
        """Return the slots whose contents nobody uses at the moment."""
        return [slot for slot in self.slots if slot.sequence is None and slot.held]


def _slot(sequence: Sequence) -> Slot:
    if sequence.slot is None:
        raise AssertionError("an active sequence has a slot")
    return sequence.slot


def _common_prefix(held: list[int], prompt: tuple[int, ...]) -> int:
    length = min(len(held), len(prompt))
    for index in range(length):
        if held[index] != prompt[index]:
            return index
    return length
