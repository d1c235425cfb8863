"""Which tokens are drafted in a step: those whose verification is likely to pay. Pure.

A draft is evaluated in one run behind a sequence's pending tokens, and each of its rows is sampled
as long as the sampled token is the drafted one. A drafted token is certain, so this is rejection
sampling with the model's own distribution: a draft changes how many steps there are, not the tokens
(Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", section 2.3).
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import NamedTuple

from pilotlight_llama_cpp import ubatches
from pilotlight_llama_cpp.batch import Tokens
from pilotlight_llama_cpp.planning import Batching
from pilotlight_llama_cpp.prompt_lookup import PromptLookup
from pilotlight_llama_cpp.step_times import StepTimes
from pilotlight_llama_cpp.ubatches import Part

_AT_ONCE = 1024
"""Tokens that are indexed in a step: 2 ms. A longer prompt is drafted from some steps later."""
_FADE = 0.99
"""What an accepted or refused token counts when the next token has come: half after 70."""
_FIRST_CREDIT = 0.5
"""What the first draft may cost, in the time of a token: a row."""
_LONG_MATCH, _TRIAL = 12, 1.5
"""Tokens of a match from which on more may be lost, once in a sequence: a tile of four rows costs
1.2 to 1.6 tokens, and a draft of one token does not gain where two rows take twice as long as one,
as with Gemma 3 270M."""
_EARNED = 0.01
"""The share of its time that a sequence may lose to refused drafts."""
_MOST_CREDIT = 32.0
_WORTH = 1.02
"""How much faster a step with a draft has to be expected: what is expected is uncertain."""
_TILE = 4
"""Rows that the kernels of quantized weights compute together (`gemm` in ggml-cpu/repack.cpp)."""
_ROWS = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Rows of a run that are worth a try: whole tiles, in steps that shrink with what they gain."""
_PAUSE = 4
"""Steps without an offer behind one that was not worth its rows: to find and to weigh one takes 15
to 50 us, which the steps of a small model would notice."""
_SELDOM = 8
"""Of so many steps without a draft one is measured: there is little to learn from them."""


class Offer(NamedTuple):
    """Tokens that may come next."""

    tokens: Tokens
    chance: float
    """The probability that one of them is sampled, once all before it were."""
    credit: float
    """What their verification may cost, in the time of a token without drafts."""


class Draft(NamedTuple):
    """How many tokens of an offer are evaluated, and what that costs, in the time of a token.

    Without tokens it is what one would have cost that was over the credit.
    """

    length: int = 0
    cost: float = 0.0


class Trust:
    """How many drafted tokens are accepted, and what refused ones may cost.

    That is a fixed share of the time, beside what accepted ones have saved.
    """

    def __init__(
        self,
        *,
        accepted: float = 1.0,
        refused: float = 1.0,
        credit: float,
        most_credit: float,
    ) -> None:
        """Assume *accepted* tokens and *refused* drafts before there are any."""
        self._assumed = accepted, refused
        self._accepted = self._refused = 0.0
        self._most_credit = most_credit
        self.credit = credit
        """What a draft may cost, in the time of a token without drafts."""

    def earn(self, tokens: int) -> None:
        """Count so many new tokens of the sequence: earlier drafts say less than before."""
        self.credit = min(self._most_credit, self.credit + _EARNED * tokens)
        if self._accepted or self._refused:
            fade = _FADE**tokens
            self._accepted *= fade
            self._refused *= fade

    def chance(self, copied: int = 0) -> float:
        """Return the probability that a drafted token is accepted, if those before it were.

        *copied* tokens before it are those of a match.
        """
        accepted, refused = self._assumed
        accepted += self._accepted + copied
        return accepted / (accepted + refused + self._refused)

    def verified(self, draft: Draft, accepted: int) -> None:
        """Learn that so many tokens of *draft* were accepted."""
        self._accepted += accepted
        self._refused += accepted < draft.length
        self.spend(draft.cost - accepted)

    def spend(self, cost: float) -> None:
        """Take *cost* from the credit; it is negative where time was saved."""
        self.credit = min(self._most_credit, self.credit - cost)


class Drafter:
    """Drafts what followed the last tokens of a sequence where they came before.

    Where nothing repeats there is no match, and no draft.
    """

    def __init__(self, shortest: int) -> None:
        """*shortest* is the fewest tokens that have to be the same in a match."""
        self._lookup = PromptLookup(shortest)
        self.trust = Trust(credit=_FIRST_CREDIT, most_credit=_MOST_CREDIT)
        self._is_tried = False
        """Whether there was a long match."""
        self._least, self._pause = 0.0, 0
        """The credit from which on, and the steps after which, there is an offer again."""

    def offer(self, held: Sequence[int], pending: Sequence[int], most: int) -> Offer | None:
        """Return at most *most* tokens that may come behind *held* and *pending*.

        To be called once a step. By the rule of succession a copy goes on with a probability of
        (n + 1) / (n + 2) after n tokens; refusals of this sequence count against it.
        """
        trust, self._pause = self.trust, self._pause - 1
        if not self._read(held, pending) or most < 1:
            return None
        if self._pause >= 0 or (self._is_tried and trust.credit < self._least):
            return None
        match = self._lookup.find(most)
        if match is None:
            return None
        if match.length >= _LONG_MATCH and not self._is_tried:
            self._is_tried = True
            trust.spend(-_TRIAL)
        # An image's numbers are negative (`media`).
        tokens = tuple(takewhile(lambda token: token >= 0, match.tokens))
        return Offer(tokens, trust.chance(match.length), trust.credit)

    def put_off(self, cost: float) -> None:
        """Offer nothing for some steps, nor before the credit is *cost*."""
        self._least, self._pause = cost, _PAUSE

    def verified(self, draft: Draft, accepted: int) -> None:
        """Learn that so many tokens of *draft* were accepted."""
        self.trust.verified(draft, accepted)

    def _read(self, held: Sequence[int], pending: Sequence[int]) -> bool:
        """Add what is new to the index; return whether it has everything."""
        lookup, seen = self._lookup, len(self._lookup)
        if seen < len(held):
            lookup.extend(held[seen : seen + _AT_ONCE])
        if len(lookup) >= len(held):
            lookup.extend(pending[len(lookup) - len(held) :])
        self.trust.earn(len(pending))
        return len(lookup) >= len(held) + len(pending)


class Drafting:
    """Chooses the drafts of each step by what its ubatches take."""

    def __init__(self, batching: Batching, most: int) -> None:
        """*most* is the drafted tokens of one step, those of all streams."""
        self._batching = batching
        self.most = most
        self._times = StepTimes()
        self._unmeasured = 0
        """Steps without a draft that may pass before one is measured."""

    def room(self, parts: Iterable[Part]) -> int:
        """Return how many tokens a step with *parts* has room to draft."""
        return min(self.most, self._batching.most - sum(part.tokens for part in parts))

    def choose(self, parts: Sequence[Part], offers: Sequence[Offer | None]) -> list[Draft]:
        """Return the draft of each stream in *parts*, which are sorted by slot."""
        return choose(parts, offers, self.seconds, room=self.room(parts))

    def is_measured(self, *, drafted: bool) -> bool:
        """Return whether to call `measured` for a step; to be asked once, after it.

        Each with a draft is, and some of the others: those of a small model take a millisecond.
        """
        self._unmeasured -= 1
        if not drafted and self._unmeasured > 0:
            return False
        self._unmeasured = _SELDOM
        return True

    def measured(self, parts: Sequence[Part], seconds: float) -> None:
        """Learn how long a step of streams took, drafts included."""
        self._times.add(self._ubatches(parts), seconds)

    def seconds(self, parts: Sequence[Part]) -> float:
        """Return what a step of streams takes."""
        return self._times.step(self._ubatches(parts))

    def _ubatches(self, parts: Sequence[Part]) -> list[int]:
        batching = self._batching
        return ubatches.split(parts, most=batching.most, unified=batching.unified)


def choose(
    parts: Sequence[Part],
    offers: Sequence[Offer | None],
    seconds: Callable[[Sequence[Part]], float],
    *,
    room: int,
) -> list[Draft]:
    """Return the drafts with which most tokens a second are expected of all streams together.

    *seconds* is what a step takes. The likeliest offer chooses first; a further one has to make the
    step faster than it is by then, so the more streams there are the fewer draft.
    """
    drafts = [Draft()] * len(parts)
    now = list(parts)
    tokens, took = float(len(parts)), seconds(parts)
    token = took / tokens  # what one takes without drafts
    offered = [(index, offer) for index, offer in enumerate(offers) if offer is not None]
    for index, offer in sorted(offered, key=lambda one: one[1].chance, reverse=True):
        best, best_rate = None, _WORTH * tokens / took
        for length in _lengths(now[index].tokens, min(room, len(offer.tokens))):
            longer = [*now]
            longer[index] = now[index]._replace(tokens=now[index].tokens + length)
            takes = seconds(longer)
            cost = (takes - took) / token
            if cost > offer.credit:
                if best is None:
                    drafts[index] = Draft(cost=cost)
                break
            expected = tokens + _accepted(offer.chance, length)
            if expected / takes > best_rate:
                best_rate = expected / takes
                best = longer, Draft(length, cost), expected, takes
        if best is not None:
            now, drafts[index], tokens, took = best
            room -= drafts[index].length
    return drafts


def _lengths(tokens: int, most: int) -> list[int]:
    """Return the drafts worth a try behind so many *tokens*: one token, or rows in whole tiles."""
    if most < 1:
        return []
    whole = (tokens + most) // _TILE * _TILE - tokens
    rows = {size - tokens for size in _ROWS if 0 < size - tokens <= most}
    return sorted({1, *rows, whole if whole > 0 else most})


def _accepted(chance: float, length: int) -> float:
    """Return how many of *length* tokens are expected to be accepted."""
    return chance * (1 - chance**length) / (1 - chance)
