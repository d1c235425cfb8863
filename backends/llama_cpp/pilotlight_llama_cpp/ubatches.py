"""What llama.cpp does with a batch: into which ubatches it cuts it, and what they cost. Pure.

A ubatch is what one pass over the weights computes. With a KV stream for each slot, `split_equal`
(llama-batch.cpp) puts sequences into one ubatch only if their ids increase by one, and takes as
many tokens of each as the shortest still has. With a unified cache `split_simple` takes the tokens
in order.
"""

from collections.abc import Sequence
from typing import NamedTuple

PASS = 10
"""What a pass costs beside its tokens, in tokens of a prompt: it reads all weights, and threads
meet at the end of each operation. Measured with Qwen3-0.6B's shape in Q4_K_M: on one thread 4, on
two threads 10 (four prompts of 90 tokens took 375 ms each alone, and 347 ms each together)."""


class Part(NamedTuple):
    """Tokens of one slot in a batch."""

    slot: int
    tokens: int


def split(parts: Sequence[Part], *, most: int, unified: bool) -> list[int]:
    """Return the tokens of each ubatch of a batch with *parts*, in the order of their slots.

    *most* is `n_ubatch`.
    """
    if unified:
        total = sum(part.tokens for part in parts)
        return [min(most, total - start) for start in range(0, total, most)]
    left = [part.tokens for part in parts]
    ubatches: list[int] = []
    while any(left):
        group = _neighbours([part.slot for part in parts], left)
        each = min(*(left[index] for index in group), max(1, most // len(group)))
        for index in group:
            left[index] -= each
        ubatches.append(each * len(group))
    return ubatches


def _neighbours(slots: Sequence[int], left: Sequence[int]) -> list[int]:
    """Return the indices of the first slots with tokens *left* whose ids increase by one."""
    group: list[int] = []
    for index, slot in enumerate(slots):
        if left[index] and (not group or slot == slots[group[-1]] + 1):
            group.append(index)
    return group


def cost(parts: Sequence[Part], *, most: int, unified: bool) -> int:
    """Return what a batch takes, in the time of a prompt's token."""
    return sum(PASS + tokens for tokens in split(parts, most=most, unified=unified))
