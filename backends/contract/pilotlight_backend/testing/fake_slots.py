"""The slots of the fake's engine, and the prompts that are cached in them and beside them."""

import time
from collections.abc import Iterable

from pilotlight_backend import placement
from pilotlight_backend.prompt_cache import owner_of
from pilotlight_backend.testing.fake_prompts import FakePrompts
from pilotlight_backend.testing.fake_sequence import FakeSequence, FakeSlot
from pilotlight_backend.types import LoadOptions, ModelFacts


class FakeSlots:
    """As many slots as requests run at once. Used under the engine's lock."""

    def __init__(self, options: LoadOptions, facts: ModelFacts, baked: tuple[int, ...]) -> None:
        """*baked* are the tokens of the baked prompt."""
        self.all = [FakeSlot() for _ in range(options.parallel)]
        self.prompts = FakePrompts(options.prompt_cache, facts)
        self._baked = baked
        self._uses = 0

    @property
    def busy(self) -> list[FakeSlot]:
        """The slots that have a request."""
        return [slot for slot in self.all if slot.sequence is not None]

    @property
    def running(self) -> list[FakeSequence]:
        """The requests that have a slot."""
        return [slot.sequence for slot in self.all if slot.sequence is not None]

    @staticmethod
    def tokens(slots: Iterable[FakeSlot]) -> int:
        """Return how many tokens *slots* hold."""
        return sum(len(slot.held) for slot in slots)

    def admit(self, sequence: FakeSequence) -> None:
        """Give *sequence* an idle slot, with the longest prefix of its prompt that is cached."""
        prompt = sequence.prompt
        slot = self._choose(sequence)
        size = len(self._baked)
        baked = size if size < len(prompt) and prompt[:size] == self._baked else 0
        # Evaluation takes no time: a request that shares a prompt finds it in the first one's slot.
        readable = self.all if sequence.request.shares_prompt else (slot,)
        held = max(one.common(sequence) for one in readable)
        if slot.common(sequence) < len(slot.held):
            self.prompts.keep(slot)
        held, began = max(held, baked), time.monotonic()
        restored = self.prompts.restore(sequence.request.scope, prompt, held)
        if restored > held:
            held, sequence.timer.restoring = restored, began
        # The last token is always evaluated: its logits choose the first token of the answer.
        sequence.cached = min(held, len(prompt) - 1)
        sequence.slot = slot
        sequence.timer.admitted = time.monotonic()
        slot.sequence = sequence
        slot.scope = sequence.request.scope
        slot.held = list(prompt)
        slot.prompted = len(prompt)

    def _choose(self, sequence: FakeSequence) -> FakeSlot:
        offers = (
            placement.Slot(
                id=number,
                continued=placement.continues(
                    len(slot.held), slot.prompted, common := slot.common(sequence)
                ),
                usable=common,
                lost=len(slot.held) - common,
                last_used=slot.last_used,
            )
            for number, slot in enumerate(self.all)
            if slot.sequence is None
        )
        return self.all[placement.choose(offers, self._uses)]

    def release(self, slot: FakeSlot) -> None:
        """Make *slot* idle; it keeps its tokens, unless they were cleared meanwhile."""
        slot.sequence = None
        self._uses += 1
        slot.last_used = self._uses
        if slot.is_cleared:
            slot.empty()

    def save(self, seconds: float) -> None:
        """Write what idle slots hold to storage, within so many seconds."""
        self.prompts.store([slot for slot in self.all if not slot.sequence], seconds)

    def clear(self, owner: str | None) -> None:
        """Forget the prompts of *owner*, or all: of busy slots when their requests end."""
        for slot in self.all:
            if owner in (None, owner_of(slot.scope)):
                slot.is_cleared = True
                if slot.sequence is None:
                    slot.empty()
        self.prompts.clear(owner)

    def forget(self) -> None:
        """Forget the tokens of every slot."""
        for slot in self.all:
            slot.held = []
