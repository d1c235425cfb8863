"""Drafts of a draft model: which streams have some, and how many tokens."""

from collections.abc import Sequence as Items
from operator import attrgetter
from typing import TypeVar

from pilotlight_llama_cpp import drafting
from pilotlight_llama_cpp.draft_model import DraftModel, Wanted
from pilotlight_llama_cpp.drafting import Draft, Drafting, Offer, Trust
from pilotlight_llama_cpp.drafts import Drafts
from pilotlight_llama_cpp.runs import PlannedRun, parts
from pilotlight_llama_cpp.sequence import Sequence
from pilotlight_llama_cpp.ubatches import Part

S = TypeVar("S", bound=Sequence)

_AGREED, _DISAGREED = 8.0, 2.0
"""Accepted and refused tokens that are assumed at first: models of one family agree that often."""
_FIRST_CREDIT, _MOST_CREDIT = 16.0, 512.0
"""What drafting may cost at first, and at the most, in the time of a token. To read a prompt of
1,000 tokens a model of a tenth of the size takes as long as some 20 tokens."""
_WORTH_READING = 2
"""How many times as many tokens as a prompt takes to read its completion may still have."""
_CAUGHT_UP = 16
"""Tokens that are read with the first token of a draft; more are read in a step before."""


class ModelDrafts(Drafts[S]):
    """Drafts with a small model as long as that saves time, the reading of prompts included."""

    def __init__(self, drafting: Drafting, model: DraftModel) -> None:
        super().__init__(drafting)
        self._model = model
        # How well two models agree is a matter of both, so all sequences have one trust.
        self._trust = Trust(
            accepted=_AGREED, refused=_DISAGREED, credit=_FIRST_CREDIT, most_credit=_MOST_CREDIT
        )

    def extend(self, streams: list[PlannedRun[S]], room: int) -> list[PlannedRun[S]]:
        """Return *streams* with their drafts; a slot can hold *room* tokens."""
        trust = self._trust
        trust.earn(len(streams))
        batch = parts(streams)
        token = self._drafting.seconds(batch) / len(batch)
        if trust.credit * token < self._model.times.step([1]):
            return streams
        streams = sorted(streams, key=attrgetter("slot"))
        batch = parts(streams)
        most = self._drafting.room(batch)
        offers = self._offers(streams, min(most, room - max(run.reach for run in streams)), token)
        chosen = drafting.choose(
            batch, offers, lambda longer: self._seconds(batch, longer), room=most
        )
        if not any(draft.length for draft in chosen):
            return streams
        drafted = self._model.draft(
            [
                # What its tokens cost each is the least probability that pays for one.
                Wanted(run.slot, _tokens(run), draft.length, least=draft.cost / draft.length)
                for run, draft in zip(streams, chosen, strict=True)
                if draft.length
            ]
        )
        return [
            self._extended(run, draft, drafted[run.slot]) if draft.length else run
            for run, draft in zip(streams, chosen, strict=True)
        ]

    def _offers(self, streams: list[PlannedRun[S]], most: int, token: float) -> list[Offer | None]:
        """Return an offer of each stream that the draft model has read; it reads one of the others.

        A chunk of its prompt delays the other streams as any prompt does.
        """
        trust, offers, is_reading = self._trust, list[Offer | None](), False
        for run in streams:
            length = run.sequence.most_drafted(most) if run.sampled else 0
            behind = self._behind(run) if length > 0 else None
            if behind is None:
                offers.append(None)
            elif behind <= _CAUGHT_UP:
                offers.append(Offer(range(length), trust.chance(), trust.credit))
            else:
                offers.append(None)
                cost = self._model.times.step([behind]) / token
                left = run.sequence.limit - run.sequence.completion_tokens
                if not is_reading and cost <= min(trust.credit, left / _WORTH_READING):
                    is_reading = True
                    count = self._model.read(run.slot, _tokens(run))
                    trust.spend(self._model.times.step([count]) / token)
        return offers

    def _behind(self, run: PlannedRun[S]) -> int | None:
        """Return how many tokens the draft model has to read, once it has copied what it can."""
        tokens = _tokens(run)
        behind = self._model.behind(run.slot, tokens)
        if behind is not None and behind > _CAUGHT_UP and self._model.copy(run.slot, tokens):
            return self._model.behind(run.slot, tokens)
        return behind

    def _seconds(self, batch: Items[Part], longer: Items[Part]) -> float:
        """Return what it takes to draft from *batch* to *longer*, and to verify that."""
        lengths = [
            after.tokens - before.tokens for before, after in zip(batch, longer, strict=True)
        ]
        took = self._drafting.seconds(longer)
        for position in range(max(lengths)):
            rows = sum(length > position for length in lengths)
            took += self._model.times.step([rows if position else 2 * rows])
        return took

    def _extended(self, run: PlannedRun[S], draft: Draft, tokens: list[int]) -> PlannedRun[S]:
        """Return *run* with what was drafted, which may be less than planned, and cost less."""
        cost = draft.cost * min(1.0, (len(tokens) + 1) / draft.length)
        possible = run.sequence.possible(tokens)
        if not possible:
            self._trust.spend(cost)
            return run
        return run.with_draft(possible, Draft(len(possible), cost))

    def begin(self, slot: int, scope: str) -> None:
        """Keep in *slot* what a sequence of *scope*, which begins there, may use."""
        self._model.begin(slot, scope)

    def forget(self) -> None:
        """Forget what was read of all sequences."""
        self._model.forget_all()

    def close(self) -> None:
        """Free the draft model."""
        self._model.close()

    def verified(self, run: PlannedRun[S], accepted: int) -> None:
        """Learn that so many tokens of the draft of *run* were accepted."""
        self._trust.verified(run.draft, accepted)


def _tokens(run: PlannedRun[S]) -> list[int]:
    """Return the sequence's tokens up to those of *run*."""
    slot = run.sequence.slot
    return [*(() if slot is None else slot.held), *run.tokens]
