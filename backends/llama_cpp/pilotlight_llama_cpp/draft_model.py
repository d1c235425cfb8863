"""A small model of the same vocabulary that drafts what a large one may sample next.

It has a context of its own with the same slots. What it has read of a sequence follows the large
model's slot: refused tokens are removed, and a prompt is read when its sequence begins to draft.
The engine's thread alone.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from pilotlight_backend.placement import common_prefix
from pilotlight_llama_cpp.batch import Decoded, Run, Tokens
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
    """What drafts need of a context: `LlamaContext`."""

    @property
    def length(self) -> int:
        """Tokens that a slot can hold."""

    def decode(self, runs: Sequence[Run], /) -> Decoded:
        """Evaluate a batch."""

    def truncate(self, slot: int, length: int) -> bool:
        """Keep a slot's first *length* tokens; False if it had to be cleared."""

    def likeliest(self, row: int) -> tuple[int, float]:
        """Return the likeliest token that follows a row of the batch, and its probability."""

    def close(self) -> None:
        """Free the context."""


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
        free: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """*chunk* is the tokens of a prompt that are read at once.

        *vocabulary_size* is the tokens that both models have. *free* is called when the context is
        closed.
        """
        self._context = context
        self._chunk = chunk
        self._vocabulary_size = vocabulary_size
        self._free = free
        self._clock = clock
        self._read: list[list[int]] = [[] for _ in range(slots)]
        """The tokens that each slot holds."""
        self.times = StepTimes()

    def warm(self) -> None:
        """Learn what a token takes: the second time, when pages and buffers are warm."""
        for _ in range(2):
            self.times = StepTimes()
            self._evaluate([_Run(0, 0, (0,))])
            self.forget(0)

    def behind(self, slot: int, tokens: Tokens) -> int | None:
        """Return how many of *tokens* are not read yet; None if they cannot be.

        An image has negative numbers, and the large model's vocabulary may have more tokens.
        """
        if len(tokens) >= self._context.length:
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

    def draft(self, wanted: Sequence[Wanted]) -> dict[int, list[int]]:
        """Return the drafts by slot; the slots are in rising order.

        A draft ends before the probability of all its tokens falls under the least.
        """
        drafts: dict[int, list[int]] = {one.slot: [] for one in wanted}
        sure = dict.fromkeys(drafts, 1.0)
        runs = []
        for one in wanted:
            start = self._cut(one.slot, one.tokens)
            runs.append(_Run(one.slot, start, one.tokens[start:]))
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
                if len(draft) < one.most and run.reach < self._context.length:
                    following.append(_Run(run.slot, run.reach, (token,)))
            runs = following
        return drafts

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
        if self._context.decode(runs) is not Decoded.DONE:
            for run in runs:
                self.forget(run.slot)
            return False
        self.times.add([sum(len(run.tokens) for run in runs)], self._clock() - began)
        for run in runs:
            self._read[run.slot].extend(run.tokens)
        return True

    def keep(self, slot: int, length: int) -> None:
        """Keep at most the first *length* tokens of *slot*, those that its request has cached.

        What is behind them may be another caller's: the time of a response would reveal it.
        """
        read = self._read[slot]
        if length < len(read):
            if not self._context.truncate(slot, length):
                length = 0
            del read[length:]

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
        """Free the context, and then the model."""
        self._context.close()
        self._free()
