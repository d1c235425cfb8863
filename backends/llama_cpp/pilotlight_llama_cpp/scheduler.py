"""Which sequence gets which slot, and what the next batch holds. Pure: no clock, no native call.

A slot keeps its tokens in the KV cache when its request ends, so that the next prompt with the same
prefix continues from there; `pilotlight_backend.placement` chooses the slot. A baked prompt counts
as held by every idle slot, since it can be put into any. So do the tokens of another slot, idle or
busy, if the model's cache can be copied.
"""

from collections import deque
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

from pilotlight_backend import placement
from pilotlight_backend.placement import common_prefix
from pilotlight_llama_cpp.batch import Tokens

_WORTH_COPYING = 64
"""Prompt tokens that a copy must save. llama.cpp copies the whole slot, whatever it holds: 4,096
tokens of Qwen3-0.6B took 25 to 60 ms, like one to three tokens of prefill; longer slots more."""


class Sequence:
    """A request as the scheduler sees it: prefilled in chunks, then decoded token by token."""

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
        """Whether it waits for another sequence that prefills this prompt, and copies that."""
        self.limit = limit
        """Tokens that may be sampled: those of the request, or the rest of the context."""
        self.slot: Slot | None = None
        self.cached_tokens = 0
        self.from_baked = False
        """Whether the cached tokens come from the baked prompt and not from the slot."""
        self.copied_from: int | None = None
        """The slot that the cached tokens are copied from, if any."""
        self.completion_tokens = 0
        self.pending: int | None = None
        """The token that was sampled last, and is decoded next; None during prefill."""


class Slot:
    """A sequence's place in the KV cache."""

    __slots__ = ("held", "id", "last_used", "prompted", "sequence")

    def __init__(self, slot_id: int) -> None:
        self.id = slot_id
        self.held: list[int] = []
        self.prompted = 0
        """Prompt tokens of its last request; what follows them in `held` is the completion."""
        self.sequence: Sequence | None = None
        self.last_used = 0


S = TypeVar("S", bound=Sequence)


class _Offer(NamedTuple):
    """Cached tokens that a slot can offer for a prompt, and where they come from."""

    tokens: int
    baked: bool = False
    copied_from: int | None = None


class PlannedRun(NamedTuple, Generic[S]):
    """Tokens of one sequence in a batch; *sampled* if a token is sampled after the last one."""

    sequence: S
    slot: int
    start: int
    tokens: Tokens
    sampled: bool


class Scheduler(Generic[S]):
    """Gives slots to sequences in the order of the queue, and plans the batch of each step."""

    def __init__(
        self,
        *,
        slots: int,
        chunk: int,
        baked: tuple[int, ...] = (),
        copies: bool = False,
        cuts: bool = True,
    ) -> None:
        """*baked* is the prompt that the first slot holds from the start.

        *cuts*: a slot can be truncated to any length. *copies*: it can also be copied to another
        slot, and the copy truncated.
        """
        self.slots = tuple(Slot(slot_id) for slot_id in range(slots))
        self.slots[0].held.extend(baked)
        self.slots[0].prompted = len(baked)
        self.queue: deque[S] = deque()
        self.active: list[S] = []
        """The sequences that have a slot, in the order they got it."""
        self.waiting: list[S] = []
        """Sequences with a reserved slot, any one, until their shared prompt is prefilled."""
        self._copies = copies
        self._cuts = cuts
        self._sources: set[int] = set()
        """Slots that are copied at the start of the next step, and must not change before it."""
        self._chunk = chunk
        self._baked = baked
        self._uses = 0

    def enqueue(self, sequence: S) -> None:
        """Put *sequence* at the end of the queue."""
        self.queue.append(sequence)

    @property
    def has_work(self) -> bool:
        """Whether a sequence is running, waiting or queued."""
        return bool(self.active or self.waiting or self.queue)

    @property
    def taken(self) -> int:
        """How many slots are busy or reserved."""
        return len(self.active) + len(self.waiting)

    def admit(self) -> list[S]:
        """Give idle slots to the head of the queue; return the sequences that start.

        Sequences that share a prompt wait in a reserved slot until its prefill ends. If the
        sequence that prefills it ends before, the first of them continues it. A slot that is the
        source of a pending copy is not given away before the step that makes the copy.
        """
        while self.queue and self.taken < len(self.slots):
            self.waiting.append(self.queue.popleft())
        admitted: list[S] = []
        for sequence in tuple(self.waiting):
            if self._is_being_read(sequence):
                continue
            slot, offer = self._choose(sequence)
            if slot.id in self._sources:
                break  # later sequences do not overtake it
            self.waiting.remove(sequence)
            self._give(sequence, slot, offer)
            admitted.append(sequence)
        return admitted

    def _is_being_read(self, sequence: S) -> bool:
        """Return whether an active sequence prefills the prompt that *sequence* shares."""
        if not (self._copies and sequence.shares_prompt):
            return False
        needed = len(sequence.prompt) - 1
        return any(
            len(_slot(other).held) < needed and other.prompt == sequence.prompt
            for other in self.active
        )

    def _choose(self, sequence: S) -> tuple[Slot, "_Offer"]:
        """Return the best idle slot for *sequence*, and what is cached of its prompt."""
        prompt = sequence.prompt
        common = [common_prefix(slot.held, prompt) for slot in self.slots]
        baked = self._baked_part(prompt)
        idle = [slot for slot in self.slots if slot.sequence is None]
        offers = {slot.id: self._offer(sequence, slot, common, baked) for slot in idle}
        chosen = placement.choose(
            (
                placement.Slot(
                    id=slot.id,
                    continued=placement.continues(len(slot.held), slot.prompted, common[slot.id]),
                    usable=offers[slot.id].tokens,
                    lost=self._lost(slot, common[slot.id]),
                    last_used=slot.last_used,
                )
                for slot in idle
            ),
            self._uses,
        )
        return self.slots[chosen], offers[chosen]

    def _give(self, sequence: S, slot: Slot, offer: "_Offer") -> None:
        sequence.from_baked, sequence.copied_from = offer.baked, offer.copied_from
        if offer.copied_from is not None:
            self._sources.add(offer.copied_from)
        sequence.cached_tokens = offer.tokens
        slot.held[:] = sequence.prompt[: offer.tokens]
        slot.prompted = len(sequence.prompt)
        slot.sequence, sequence.slot = sequence, slot
        self.active.append(sequence)

    def _offer(self, sequence: S, slot: Slot, common: list[int], baked: int) -> "_Offer":
        """Return the most cached tokens that *slot* can offer *sequence*, and their source.

        A copy costs time, so it must save more than what *slot* holds and the *baked* tokens do.
        """
        # The last token is always evaluated: its logits give the first token of the completion.
        most = len(sequence.prompt) - 1
        held = self._reusable(slot, common[slot.id], most)
        if self._copies:
            source = max(self.slots, key=lambda other: min(common[other.id], most))
            copied = min(common[source.id], most)
            gain = copied - max(held, baked)
            if gain > 0 and (sequence.shares_prompt or gain >= _WORTH_COPYING):
                return _Offer(copied, copied_from=source.id)
        return _Offer(baked, baked=True) if held < baked else _Offer(held)

    def _reusable(self, slot: Slot, common: int, most: int) -> int:
        """Return how many of its tokens *slot* can keep: at most *most*."""
        kept = min(common, most)
        return kept if self._cuts or kept == len(slot.held) else 0

    def _lost(self, slot: Slot, common: int) -> int:
        """Return how many tokens of *slot* are lost to a prompt that has *common* of them.

        Tokens that another slot holds too are not lost if slots can be copied; those of the baked
        prompt never are.
        """
        if not self._cuts:  # the slot cannot go back to any of its tokens
            return len(slot.held)
        kept = max(common, common_prefix(slot.held, self._baked))
        for other in self.slots if self._copies else ():
            # Compared only if it can be more: slots may share a prefix of many thousand tokens.
            if other is not slot and other.held[kept : kept + 1] == slot.held[kept : kept + 1]:
                kept = max(kept, common_prefix(slot.held, other.held))
        return len(slot.held) - kept

    def _baked_part(self, prompt: tuple[int, ...]) -> int:
        """Return the length of the baked prompt if *prompt* continues it, else 0."""
        length = len(self._baked)
        return length if length < len(prompt) and prompt[:length] == self._baked else 0

    def plan(self) -> list[PlannedRun[S]]:
        """Return the next batch.

        It has a token of each sequence that decodes, and at most a chunk of prompt tokens, those of
        the earliest sequence first: a prompt of any length delays a running stream by one chunk.
        After a cached prefix the first chunk ends where one would end without it, so that all later
        chunks are the same and round alike.

        Runs are sorted by slot. llama.cpp puts sequences into one ubatch only if their ids in the
        batch increase by one (`split_equal` in llama-batch.cpp), and each ubatch reads all weights.
        Eight streams in another order took twice as long.
        """
        self._sources.clear()
        runs: list[PlannedRun[S]] = []
        room = self._chunk
        for sequence in self.active:
            slot = _slot(sequence)
            start = len(slot.held)
            if sequence.pending is not None:
                runs.append(PlannedRun(sequence, slot.id, start, (sequence.pending,), sampled=True))
            elif room:
                whole = self._chunk
                if start == sequence.cached_tokens:
                    whole -= start % self._chunk
                tokens = sequence.prompt[start : start + min(room, whole)]
                room -= len(tokens)
                ends = start + len(tokens) == len(sequence.prompt)
                runs.append(PlannedRun(sequence, slot.id, start, tokens, sampled=ends))
        return sorted(runs, key=attrgetter("slot"))

    def evaluated(self, run: PlannedRun[S]) -> None:
        """Record that the cache now holds *run*."""
        _slot(run.sequence).held.extend(run.tokens)

    def sampled(self, sequence: S, token: int) -> None:
        """Record the token that was sampled for *sequence*."""
        sequence.pending = token
        sequence.completion_tokens += 1

    def release(self, sequence: S) -> None:
        """Take *sequence* out of its slot or the queue; the slot keeps its tokens for reuse."""
        slot = sequence.slot
        if slot is None:
            (self.waiting if sequence in self.waiting else self.queue).remove(sequence)
            return
        self._uses += 1
        slot.last_used = self._uses
        slot.sequence = sequence.slot = None
        self.active.remove(sequence)

    def forget(self, slot: Slot) -> None:
        """Record that *slot* is empty; its sequence, if any, prefills from the start."""
        slot.held.clear()
        slot.prompted = 0
        if slot.sequence is not None:
            slot.sequence.cached_tokens = 0

    def idle_holders(self) -> list[Slot]:
        """Return the idle slots that hold tokens."""
        return [slot for slot in self.slots if slot.sequence is None and slot.held]


def _slot(sequence: Sequence) -> Slot:
    if sequence.slot is None:
        raise AssertionError("an active sequence has a slot")
    return sequence.slot
