"""The drafts of a step's streams."""

from abc import ABC, abstractmethod
from collections.abc import Sequence as Items
from typing import Generic, TypeVar

from pilotlight_llama_cpp.drafting import Draft, Drafting, Offer
from pilotlight_llama_cpp.runs import PlannedRun, parts
from pilotlight_llama_cpp.sequence import Sequence

S = TypeVar("S", bound=Sequence)


class Drafts(ABC, Generic[S]):
    """Extends runs of pending tokens by what may come next, where that is likely to pay."""

    def __init__(self, drafting: Drafting) -> None:
        self._drafting = drafting

    @abstractmethod
    def extend(self, streams: list[PlannedRun[S]], room: int) -> list[PlannedRun[S]]:
        """Return *streams* with their drafts; a slot can hold *room* tokens."""

    @abstractmethod
    def verified(self, run: PlannedRun[S], accepted: int) -> None:
        """Learn that so many tokens of the draft of *run* were accepted."""

    def begin(self, slot: int, scope: str) -> None:
        """Note that a sequence of *scope* begins in *slot*."""

    def forget(self) -> None:
        """Forget what was read of all sequences."""

    def close(self) -> None:
        """Free what drafts."""

    def measured(self, batch: Items[PlannedRun[S]], seconds: float) -> None:
        """Learn how long a step took."""
        if any(run.sequence.pending is None for run in batch):
            return
        if self._drafting.is_measured(drafted=any(run.draft.length for run in batch)):
            self._drafting.measured(parts(batch), seconds)


class NgramDrafts(Drafts[S]):
    """Drafts what the drafter of each sequence finds in its tokens."""

    def extend(self, streams: list[PlannedRun[S]], room: int) -> list[PlannedRun[S]]:
        """Return *streams* with their drafts; a slot can hold *room* tokens."""
        most = self._drafting.most
        offers = [
            run.sequence.draft(min(most, room - run.reach)) if run.sampled else None
            for run in streams
        ]
        if not any(offers):
            return streams
        by_slot = sorted(zip(streams, offers, strict=True), key=lambda one: one[0].slot)
        batch = parts([run for run, _ in by_slot])
        drafts = self._drafting.choose(batch, [offer for _, offer in by_slot])
        return [
            self._extended(run, offer, draft)
            for (run, offer), draft in zip(by_slot, drafts, strict=True)
        ]

    def _extended(self, run: PlannedRun[S], offer: Offer | None, draft: Draft) -> PlannedRun[S]:
        if offer is not None and draft.length:
            return run.with_draft(offer.tokens[: draft.length], draft)
        if offer is not None and run.sequence.drafter is not None:
            run.sequence.drafter.put_off(draft.cost)
        return run

    def verified(self, run: PlannedRun[S], accepted: int) -> None:
        """Learn that so many tokens of the draft of *run* were accepted."""
        drafter = run.sequence.drafter
        if drafter is not None:
            drafter.verified(run.draft, accepted)
