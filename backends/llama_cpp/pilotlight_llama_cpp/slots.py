"""Slots, and the one question about a prompt: where is its longest prefix? Pure.

A slot is one sequence's place in the KV cache. It keeps what it holds when its request ends, so
that the next prompt that begins the same way starts from there: `pilotlight_backend.placement` is
the rule. Whatever else has a prefix of the prompt can be put into any idle slot: another slot that
is copied, the baked prompt, a state of the prompt cache.

A recurrent state has no past: a slot of such a model is cut back to a checkpoint alone, which was
taken when the slot held exactly that much.
"""

from collections.abc import Sequence as Items
from typing import TYPE_CHECKING, Literal, NamedTuple

from pilotlight_backend import Adapter, placement
from pilotlight_backend.placement import common_prefix
from pilotlight_llama_cpp.media import floor

if TYPE_CHECKING:
    from pilotlight_backend.prompt_cache import Checkpoint
    from pilotlight_llama_cpp.sequence import Sequence

WORTH_COPYING = 64
"""Prompt tokens that a copy must save. llama.cpp copies the whole slot, whatever it holds: 4,096
tokens of Qwen3-0.6B took 25 to 60 ms, like one to three tokens of prefill; longer slots more."""


class Slot:
    """A sequence's place in the KV cache."""

    __slots__ = (
        "adapters",
        "checkpoints",
        "held",
        "id",
        "is_cleared",
        "last_used",
        "least",
        "prompted",
        "scope",
        "sequence",
    )

    def __init__(self, slot_id: int) -> None:
        self.id = slot_id
        self.held: list[int] = []
        self.scope = ""
        self.adapters: tuple[Adapter, ...] = ()
        """What it was evaluated with; part of its scope too."""
        self.prompted = 0
        """Prompt tokens of its last request; what follows them in `held` is the completion."""
        self.least = 0
        """The fewest tokens it can be cut back to: a restored sliding window has none before it."""
        self.checkpoints: list[Checkpoint] = []
        """Further lengths that it can be cut back to, rising."""
        self.sequence: Sequence | None = None
        self.is_cleared = False
        """Whether what it holds is forgotten when its request ends, and of no use to others."""
        self.last_used = 0

    @property
    def is_idle(self) -> bool:
        """Whether no sequence has it."""
        return self.sequence is None

    def forget(self) -> None:
        """Record that it is empty; its sequence, if any, prefills from the start."""
        self.held.clear()
        self.least = 0
        self.checkpoints = []
        self.prompted = 0
        if self.sequence is not None:
            self.sequence.cached_tokens = 0


class Displaced(NamedTuple):
    """What a slot held before a sequence got it, and why it is worth to be kept."""

    scope: str
    tokens: tuple[int, ...]
    checkpoints: tuple["Checkpoint", ...]
    age: int
    """Requests that ended since its own did."""


class Offer(NamedTuple):
    """Tokens of a prompt that need not be evaluated in a slot, and where they come from."""

    tokens: int
    source: Literal["slot", "copy", "baked", "cache"] = "slot"
    copied_from: int | None = None
    checkpoint: "Checkpoint | None" = None
    """Where the slot, or the copy, is cut back to, if that takes more than to forget the rest."""


class Choice(NamedTuple):
    """The slot that a sequence is to have."""

    slot: Slot
    offer: Offer
    lost: int
    """Tokens of the slot that are nowhere afterwards, and may be asked for again."""


class Prefixes:
    """Finds the slot in which least of a prompt is to be evaluated, and least is lost."""

    def __init__(
        self, slots: Items[Slot], *, baked: tuple[int, ...], copies: bool, cuts: bool
    ) -> None:
        """*cuts* says whether a slot can be cut back to any part of what it holds."""
        self._slots = slots
        self._baked = baked
        self._copies = copies
        self._cuts = cuts

    def held(self, sequence: "Sequence") -> int:
        """Return how much of the prompt is in a slot, or baked."""
        most = sequence.most
        best = self._baked_part(sequence)
        for slot in self._slots:
            if self._copies or slot.sequence is None:
                best = max(best, self._reusable(slot, self._common(slot, sequence), most).tokens)
        return best

    def choose(self, sequence: "Sequence", now: int) -> Choice:
        """Return the idle slot that *sequence* is to have; *now* counts the requests that ended."""
        common = [self._common(slot, sequence) for slot in self._slots]
        baked = self._baked_part(sequence)
        idle = [slot for slot in self._slots if slot.sequence is None]
        offers = {slot.id: self._offer(sequence, slot, common, baked) for slot in idle}
        seen = {
            slot.id: placement.Slot(
                id=slot.id,
                continued=placement.continues(len(slot.held), slot.prompted, common[slot.id]),
                usable=offers[slot.id].tokens,
                lost=self._lost(slot, common[slot.id]),
                last_used=slot.last_used,
            )
            for slot in idle
        }
        chosen = seen[placement.choose(seen.values(), now)]
        lost = 0 if chosen.continued else chosen.lost
        return Choice(self._slots[chosen.id], offers[chosen.id], lost)

    def _common(self, slot: Slot, sequence: "Sequence") -> int:
        """Return how much of the prompt *slot* has, as far as *sequence* may use it."""
        if slot.is_cleared:
            return 0
        common = floor(sequence.spans, common_prefix(slot.held, sequence.prompt))
        if slot.scope == sequence.scope:
            return common
        if slot.adapters or sequence.adapters:
            return 0
        return min(common, common_prefix(self._baked, sequence.prompt))

    def _offer(self, sequence: "Sequence", slot: Slot, common: list[int], baked: int) -> Offer:
        """Return what *sequence* need not evaluate in *slot*, and where that comes from.

        A copy, or a state of the prompt cache, has to be worth it against what *slot* holds and the
        *baked* tokens.
        """
        # The last token is always evaluated: its logits give the first token of the completion.
        most = sequence.most
        best = self._reusable(slot, common[slot.id], most)
        if best.tokens < baked:
            best = Offer(baked, "baked")
        if self._copies:
            copied = max(
                (self._copied(other, common[other.id], most) for other in self._slots),
                key=lambda offer: offer.tokens,
            )
            gain = copied.tokens - best.tokens
            if gain > 0 and (sequence.shares_prompt or gain >= WORTH_COPYING):
                best = copied
        if sequence.stored is not None:
            stored = min(sequence.stored.tokens, most)
            if stored - best.tokens >= WORTH_COPYING:
                best = Offer(stored, "cache")
        return best

    def _copied(self, slot: Slot, common: int, most: int) -> Offer:
        own = self._reusable(slot, common, most)
        if self._cuts and own.checkpoint is not None:
            # The window is copied at the next decode, and would overwrite the checkpoint's.
            return Offer(0, "copy", slot.id)
        return Offer(own.tokens, "copy", slot.id, own.checkpoint)

    def _reusable(self, slot: Slot, common: int, most: int) -> Offer:
        """Return how many of its tokens *slot* can keep: at most *most*."""
        kept = min(common, most)
        if kept == len(slot.held) or (self._cuts and kept >= slot.least):
            return Offer(kept)
        for checkpoint in reversed(slot.checkpoints):
            if checkpoint.tokens <= kept:
                return Offer(checkpoint.tokens, checkpoint=checkpoint)
        return Offer(0)

    def _lost(self, slot: Slot, common: int) -> int:
        """Return how many tokens of *slot* are lost to a prompt that has *common* of them.

        Tokens that another slot holds too are not lost if slots can be copied; those of the baked
        prompt never are.
        """
        if not self._cuts:  # the slot cannot go back to any of its tokens
            return len(slot.held)
        baked = 0 if slot.adapters else common_prefix(slot.held, self._baked)
        kept = max(common, baked)
        for other in self._slots if self._copies else ():
            if other is slot or other.scope != slot.scope:
                continue
            # Compared only if it can be more: slots may share a prefix of many thousand tokens.
            if other.held[kept : kept + 1] == slot.held[kept : kept + 1]:
                kept = max(kept, common_prefix(slot.held, other.held))
        return len(slot.held) - kept

    def _baked_part(self, sequence: "Sequence") -> int:
        """Return the length of the baked prompt if *sequence* continues it, else 0.

        It was evaluated without adapters.
        """
        length, prompt = len(self._baked), sequence.prompt
        if sequence.adapters:
            return 0
        return length if length < len(prompt) and prompt[:length] == self._baked else 0
