"""Who is evaluated in the next step. Pure: no clock, no native call, no thread.

A slot is one sequence's place in the KV cache. It keeps what it holds when its request ends, so
that the next prompt that begins the same way starts from there: `pilotlight_backend.placement` is
the rule. A baked prompt is as good as held by every idle slot: it can be put into any. So is what
another slot holds, busy or idle, where it can be copied.
"""

from collections import deque
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

from pilotlight_backend import placement
from pilotlight_backend.placement import common_prefix
from pilotlight_llama_cpp.batch import Tokens

_WORTH_COPYING = 64
"""Prompt tokens for which a slot is copied. llama.cpp copies the whole slot: 4,096 tokens of
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

    __slots__ = ("held", "id", "last_used", "prompted", "sequence")

    def __init__(self, slot_id: int) -> None:
        self.id = slot_id
        self.held: list[int] = []
        self.prompted = 0
        """Tokens of its last request's prompt; what it holds beyond them is the answer."""
        self.sequence: Sequence | None = None
        self.last_used = 0


S = TypeVar("S", bound=Sequence)


class _Offer(NamedTuple):
    """Tokens of a prompt that need not be evaluated in a slot, and whose they are."""

    tokens: int
    baked: bool = False
    copied_from: int | None = None


class PlannedRun(NamedTuple, Generic[S]):
    """A run of one sequence's tokens in a batch; *sampled* where its last one gets a successor."""

    sequence: S
    slot: int
    start: int
    tokens: Tokens
    sampled: bool


class Scheduler(Generic[S]):
    """Gives slots to sequences in the order they came, and plans each step's batch."""

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

        *cuts* says whether a slot can be cut back to a part of what it holds, *copies* whether it
        can be copied too, and the copy cut back.
        """
        self.slots = tuple(Slot(slot_id) for slot_id in range(slots))
        self.slots[0].held.extend(baked)
        self.slots[0].prompted = len(baked)
        self.queue: deque[S] = deque()
        self.active: list[S] = []
        """The sequences that have a slot, in the order they got it."""
        self.waiting: list[S] = []
        """Those for whom a slot is kept, any one, until the prompt that they share is read."""
        self._copies = copies
        self._cuts = cuts
        self._sources: set[int] = set()
        """Slots that are copied at the next step's start, and must hold until then what they do."""
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
        reader ends before, the first of those who wait for it reads on. Where the slot that is
        chosen is still to be copied for another newcomer, the step in which it is comes first.
        """
        while self.queue and self.taken < len(self.slots):
            self.waiting.append(self.queue.popleft())
        admitted: list[S] = []
        for sequence in tuple(self.waiting):
            if self._is_being_read(sequence):
                continue
            slot, offer = self._choose(sequence)
            if slot.id in self._sources:
                break  # and nobody overtakes it
            self.waiting.remove(sequence)
            self._give(sequence, slot, offer)
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

    def _choose(self, sequence: S) -> tuple[Slot, "_Offer"]:
        """Return the idle slot that *sequence* is to have, and what is cached of its prompt."""
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
        """Return what *sequence* need not evaluate in *slot*, and where that comes from.

        A copy has to be worth it against what *slot* holds and the *baked* tokens.
        """
        # The last token is evaluated in any case: its logits choose the first of the answer.
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
        """Return how many of its tokens *slot* can be left with, *most* at the most."""
        kept = min(common, most)
        return kept if self._cuts or kept == len(slot.held) else 0

    def _lost(self, slot: Slot, common: int) -> int:
        """Return how many tokens of *slot* nobody holds if a prompt with *common* of them gets it.

        What another slot holds counts as kept where it can be copied; the baked prompt always is.
        """
        if not self._cuts:  # without its last token the rest is of no use either
            return len(slot.held)
        kept = max(common, common_prefix(slot.held, self._baked))
        for other in self.slots if self._copies else ():
            # Compared only if it can be more: slots may share a prefix of many thousand tokens.
            if other is not slot and other.held[kept : kept + 1] == slot.held[kept : kept + 1]:
                kept = max(kept, common_prefix(slot.held, other.held))
        return len(slot.held) - kept

    def _baked_part(self, prompt: tuple[int, ...]) -> int:
        """Return how much of *prompt* is the baked one: all of that, or nothing."""
        length = len(self._baked)
        return length if length < len(prompt) and prompt[:length] == self._baked else 0

    def plan(self) -> list[PlannedRun[S]]:
        """Return the next batch.

        One token of each sequence that decodes, then at most a chunk of prompt tokens, the
        earliest prompt first: a prompt of any length delays a running stream by one chunk. Behind a
        reused prefix the first step goes to where a chunk would have ended without it, so that all
        further ones are the same, and rounded alike.

        The runs come in the order of their slots: llama.cpp evaluates together what stands in a
        batch with slot numbers that rise by one (llama-batch.cpp, split_equal), and reads all
        weights again for whatever does not. Eight streams in disorder took twice as long.
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
        slot.prompted = 0
        if slot.sequence is not None:
            slot.sequence.cached_tokens = 0

    def idle_holders(self) -> list[Slot]:
        """Return the slots whose contents nobody uses at the moment."""
        return [slot for slot in self.slots if slot.sequence is None and slot.held]


def _slot(sequence: Sequence) -> Slot:
    if sequence.slot is None:
        raise AssertionError("an active sequence has a slot")
    return sequence.slot
