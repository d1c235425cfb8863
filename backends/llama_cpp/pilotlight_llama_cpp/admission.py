"""Who gets a slot: the queue, reserved slots, and what becomes of a slot's tokens. Pure.

`slots` says which slot a sequence gets; here is who gets one, and when.
"""

import sys
from collections import deque
from typing import Generic, TypeVar

from pilotlight_llama_cpp.sequence import Sequence
from pilotlight_llama_cpp.slots import Displaced, Prefixes, Slot

_WORTH_SAVING = 64
"""Tokens that are lost with a slot for which its state is saved first."""

S = TypeVar("S", bound=Sequence)


class Admission(Generic[S]):
    """Gives slots to sequences in the order of the queue."""

    def __init__(
        self, *, slots: int, baked: tuple[int, ...] = (), copies: bool = False, cuts: bool = True
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
        self._prefixes = Prefixes(self.slots, baked=baked, copies=copies, cuts=cuts)
        self._sources: set[int] = set()
        """Slots that are copied at the start of the next step, and must not change before it."""
        self._uses = 0
        self.lacking = 0
        """Tokens that a slot must hold for the cached states that wait for a longer context."""

    def enqueue(self, sequence: S) -> None:
        """Put *sequence* at the end of the queue."""
        self.queue.append(sequence)

    @property
    def has_work(self) -> bool:
        """Whether a step can be taken: someone has a slot, or can get one."""
        return bool(
            self._is_stepping
            or (self.queue and self.taken < len(self.slots))
            or not all(map(self._is_kept_waiting, self.waiting))
        )

    @property
    def _is_stepping(self) -> bool:
        """Whether a sequence that has a slot can be evaluated."""
        return any(not sequence.is_waiting for sequence in self.active)

    @property
    def taken(self) -> int:
        """How many slots are busy or reserved."""
        return len(self.active) + len(self.waiting)

    def idle_holders(self) -> list[Slot]:
        """Return the idle slots that hold tokens."""
        return [slot for slot in self.slots if slot.is_idle and slot.held]

    def held(self, sequence: S) -> int:
        """Return how much of the prompt need not be evaluated, without the prompt cache."""
        return self._prefixes.held(sequence)

    def admit(self, room: int = sys.maxsize) -> list[S]:
        """Give idle slots to the head of the queue; return the sequences that start.

        *room* is the tokens that a slot can hold now. Running streams do not wait for the longer
        context that a cached state needs: its sequence waits, and `lacking` says for which length.

        Sequences that share a prompt wait in a reserved slot until its prefill ends. If the
        sequence that prefills it ends before, the first of them continues it. A slot that is the
        source of a pending copy is not given away before the step that makes the copy.
        """
        admitted: list[S] = []
        self.lacking = 0
        for sequence in tuple(self.reserve()):
            if self._is_kept_waiting(sequence):
                continue
            slot, offer, lost = self._prefixes.choose(sequence, self._uses)
            if slot.id in self._sources:
                break  # later sequences do not overtake it
            if self._is_stepping and offer.source == "cache" and _stored(sequence) >= room:
                self.lacking = max(self.lacking, _stored(sequence) + 1)
                continue
            self.waiting.remove(sequence)
            sequence.offer = offer
            self._give(sequence, slot, lost)
            admitted.append(sequence)
        return admitted

    def copied(self) -> None:
        """Record that the next step makes the pending copies."""
        self._sources.clear()

    def reserve(self) -> list[S]:
        """Keep slots for the first in the queue, as far as there are; return those who wait now."""
        while self.queue and self.taken < len(self.slots):
            self.waiting.append(self.queue.popleft())
        return self.waiting

    def _is_kept_waiting(self, sequence: S) -> bool:
        """Return whether *sequence* gets no slot before its prompt is in one, or in memory."""
        return (
            sequence.fetching
            or self.is_fetched_for_another(sequence)
            or any(
                len(other.held) < sequence.most
                for other in self.active
                if self._can_copy(sequence, other)
            )
        )

    def is_fetched_for_another(self, sequence: S) -> bool:
        """Return whether the prompt that *sequence* shares is being read from storage."""
        return any(
            other.fetching
            for other in self.waiting
            if other is not sequence and self._can_copy(sequence, other)
        )

    def _can_copy(self, sequence: S, other: S) -> bool:
        """Return whether *sequence* shares the prompt of *other*, and may use its slot.

        It does not wait for one of another scope either: the wait would tell its caller that
        somebody else has sent the prompt.
        """
        return (
            self._copies
            and sequence.shares_prompt
            and other.prompt == sequence.prompt
            and other.scope == sequence.scope
        )

    def _give(self, sequence: S, slot: Slot, lost: int) -> None:
        offer = sequence.offer
        kept = slot if offer.copied_from is None else self.slots[offer.copied_from]
        if kept is not slot:
            self._sources.add(kept.id)
        sequence.displaced = None
        if lost >= _WORTH_SAVING:
            sequence.displaced = Displaced(
                slot.scope,
                tuple(slot.held),
                tuple(slot.checkpoints),
                self._uses - slot.last_used,
            )
        slot.least = _least(sequence, kept)
        slot.checkpoints = (
            [one for one in kept.checkpoints if one.tokens <= offer.tokens]
            if offer.source in {"slot", "copy"}
            else []
        )
        sequence.cached_tokens = offer.tokens
        slot.held[:] = sequence.prompt[: offer.tokens]
        slot.scope, slot.adapters = sequence.scope, sequence.adapters
        slot.prompted = len(sequence.prompt)
        slot.sequence, sequence.slot = sequence, slot
        self.active.append(sequence)

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


def _least(sequence: Sequence, kept: Slot) -> int:
    """Return the fewest tokens that a slot can be cut back to once it has what is offered."""
    offer = sequence.offer
    if offer.checkpoint is not None:
        return offer.tokens
    if offer.source == "cache" and sequence.stored is not None:
        return 0 if sequence.stored.entry.least <= 1 else offer.tokens
    return 0 if offer.source == "baked" else min(kept.least, offer.tokens)


def _stored(sequence: Sequence) -> int:
    """Return how many tokens the state has that the prompt cache found; 0 without one."""
    return 0 if sequence.stored is None else len(sequence.stored.entry)
