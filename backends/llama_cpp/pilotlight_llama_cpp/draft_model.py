"""A small model of the same vocabulary that drafts what a large one may sample next.

It has a context of its own with the same slots. What it has read of a sequence follows the large
model's slot: refused tokens are removed, and a prompt is read when its sequence begins to draft.
The engine's thread alone.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from pilotlight_backend import LoadFailed
from pilotlight_backend.placement import common_prefix
from pilotlight_llama_cpp.batch import Decoded, Run, Tokens
from pilotlight_llama_cpp.slots import WORTH_COPYING
from pilotlight_llama_cpp.step_times import StepTimes


class Wanted(NamedTuple):
    """Tokens that a slot's sequence may have next, which are to be drafted."""

    slot: int
    tokens: Tokens
    """All tokens of the sequence, the last of which is not evaluated yet."""
    most: int
    """How many are drafted at the most."""
    least: float
    """The probability with which all of them have to be accepted, by what the draft model says."""


class DraftContext(Protocol):
    """What drafts need of a context: `GrowingContext`."""

    @property
    def length(self) -> int:
        """Tokens that a slot can hold once the context has grown."""

    @property
    def room(self) -> int:
        """Tokens that a slot can hold without waiting for a longer context."""

    def expect(self, length: int) -> None:
        """Prepare for a sequence of at least *length* tokens."""

    def decode(self, runs: Sequence[Run], /) -> Decoded:
        """Evaluate a batch."""

    def truncate(self, slot: int, length: int) -> bool:
        """Keep a slot's first *length* tokens; False if it had to be cleared."""

    def copy(self, source: int, target: int, length: int) -> bool:
        """Copy a slot's first tokens into another one; False: that is empty."""

    def likeliest(self, row: int) -> tuple[int, float]:
        """Return the likeliest token that follows a row of the batch, and its probability."""

    def close(self) -> None:
        """Free everything."""


class _Run(NamedTuple):
    """Tokens of a slot that are evaluated, with the logits of the last one."""

    slot: int
    start: int
    tokens: Tokens
    outputs: int = 1
    image: None = None

    @property
    def reach(self) -> int:
        return self.start + len(self.tokens)


class DraftModel:
    """Drafts for the slots of a large model, in one batch for each position of the drafts."""

    def __init__(
        self,
        context: DraftContext,
        *,
        slots: int,
        chunk: int,
        vocabulary_size: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """*context* can decode *chunk* tokens and one for each slot at once; it is owned.

        *vocabulary_size* is the tokens that both models have.
        """
        self._context = context
        self._chunk = chunk
        self._vocabulary_size = vocabulary_size
        self._clock = clock
        self._read: list[list[int]] = [[] for _ in range(slots)]
        """The tokens that each slot holds."""
        self._scopes = [""] * slots
        """Whose they are."""
        self._longest = context.length
        """The tokens of a sequence up to which drafts are tried."""
        self.times = StepTimes()

    def measure(self) -> None:
        """Learn what a token takes; *context* is warm. Raises `LoadFailed`."""
        if not self._evaluate([_Run(0, 0, (0,))]):
            raise LoadFailed("draft_model: llama.cpp cannot decode a token with it")
        self.forget(0)

    def behind(self, slot: int, tokens: Tokens) -> int | None:
        """Return how many of *tokens* are not read yet; None if they cannot be, or not now.

        An image has negative numbers, and the large model's vocabulary may have more tokens. No
        stream waits for a longer context.
        """
        if len(tokens) >= self._longest:
            return None
        self._context.expect(len(tokens))
        if len(tokens) >= self._context.room:
            return None
        common = common_prefix(self._read[slot], tokens)
        if not all(0 <= token < self._vocabulary_size for token in tokens[common:]):
            return None
        return len(tokens) - common

    def read(self, slot: int, tokens: Tokens) -> int:
        """Read the next chunk of *tokens*, and return its size; the last one is for `draft`."""
        start = self._cut(slot, tokens)
        end = min(start + self._chunk, len(tokens) - 1)
        self._evaluate([_Run(slot, start, tokens[start:end])])
        return end - start

    def copy(self, slot: int, tokens: Tokens) -> bool:
        """Copy what another slot of the same scope has read of *tokens*, if *slot* gains by it."""
        own = common_prefix(self._read[slot], tokens)
        most, source = max(
            (common_prefix(read, tokens), -other)
            for other, read in enumerate(self._read)
            if self._scopes[other] == self._scopes[slot]
        )
        if most - own < WORTH_COPYING:
            return False
        length = min(most, len(tokens) - 1)
        copied = self._context.copy(-source, slot, length)
        self._read[slot] = list(tokens[:length]) if copied else []
        return copied

    def draft(self, wanted: Sequence[Wanted]) -> dict[int, list[int]]:
        """Return the drafts by slot; the slots are in rising order.

        A draft ends before the probability of all its tokens falls under the least.
        """
        drafts: dict[int, list[int]] = {one.slot: [] for one in wanted}
        sure = dict.fromkeys(drafts, 1.0)
        runs = self._first(wanted)
        left = {one.slot: one for one in wanted}
        while runs and self._evaluate(runs):
            following, row = [], -1
            for run in runs:
                row += len(run.tokens)
                token, probability = self._context.likeliest(row)
                one, draft = left[run.slot], drafts[run.slot]
                sure[run.slot] *= probability
                if sure[run.slot] < one.least or token >= self._vocabulary_size:
                    continue
                draft.append(token)
                if len(draft) < one.most and run.reach < self._context.room:
                    following.append(_Run(run.slot, run.reach, (token,)))
            runs = following
        return drafts

    def _first(self, wanted: Sequence[Wanted]) -> list[_Run]:
        """Return what each sequence has new, as far as a batch has room; the rest have no draft."""
        runs: list[_Run] = []
        room = self._chunk
        for one in wanted:
            start = self._cut(one.slot, one.tokens)
            room -= len(one.tokens) - start - 1
            if room < 0:
                break
            runs.append(_Run(one.slot, start, one.tokens[start:]))
        return runs

    def _cut(self, slot: int, tokens: Tokens) -> int:
        """Keep what *slot* has of *tokens* but the last one; return how many that are."""
        read = self._read[slot]
        common = min(common_prefix(read, tokens), len(tokens) - 1)
        if common < len(read):
            if not self._context.truncate(slot, common):
                common = 0
            del read[common:]
        return common

    def _evaluate(self, runs: Sequence[_Run]) -> bool:
        began = self._clock()
        outcome = self._context.decode(runs)
        if outcome is not Decoded.DONE:
            for run in runs:
                self.forget(run.slot)
            if outcome is Decoded.TOO_SHORT:  # the context cannot grow: nor would it at each step
                self._longest = min(self._longest, max(run.reach for run in runs))
            return False
        self.times.add([sum(len(run.tokens) for run in runs)], self._clock() - began)
        for run in runs:
            self._read[run.slot].extend(run.tokens)
        return True

    def begin(self, slot: int, scope: str) -> None:
        """Give *slot* to a request of *scope*.

        What another scope has left is of no use to it: the time of a response would reveal it.
        """
        if scope != self._scopes[slot]:
            self.forget(slot)
        self._scopes[slot] = scope

    def forget(self, slot: int) -> None:
        """Empty *slot*."""
        self._context.truncate(slot, 0)
        self._read[slot].clear()

    def forget_all(self) -> None:
        """Empty every slot."""
        for slot, read in enumerate(self._read):
            if read:
                self.forget(slot)

    def close(self) -> None:
        """Free everything."""
        self._context.close()
