"""Which slot a prompt goes into: the rule of every backend's prompt cache. Pure.

A slot keeps the tokens of its last request, so that the next turn of a conversation is evaluated
from where it differs. What a slot holds is worth what it costs to evaluate again:

1. A prompt goes into the slot that it continues.
2. Else into a slot from which nothing is lost: an empty one, or one whose tokens are held elsewhere
   too. All conversations keep their history as long as there are as many slots.
3. Else into the slot where the tokens to evaluate now, and the worth of those lost, are fewest.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

REWRITTEN = 5
"""Tokens at a prompt's end that a chat template may write otherwise in the next turn. Qwen3's ends
a prompt without reasoning with `<think>\\n\\n</think>\\n\\n`, which is four tokens, and leaves it
out of the history. Two conversations differ farther from the end: between the last message and the
end of the prompt, templates write a turn's end and the next one's start, five tokens or more."""

_BLOCK = 512


def common_prefix(held: Sequence[int], prompt: Sequence[int]) -> int:
    """Return how many tokens *held* and *prompt* share from the start."""
    length = min(len(held), len(prompt))
    # Whole blocks are compared in C: token by token, 32,000 tokens take a millisecond for a slot.
    start = 0
    while start < length:
        end = min(start + _BLOCK, length)
        if tuple(held[start:end]) != tuple(prompt[start:end]):
            break
        start = end
    while start < length and held[start] == prompt[start]:
        start += 1
    return start


def continues(held: int, prompted: int, common: int) -> bool:
    """Tell whether a prompt is the next turn of what a slot holds, or the same turn again.

    The slot holds *held* tokens; its last request's prompt had *prompted*, and the new one has
    *common* tokens of it. It continues the slot if it repeats that prompt but for `REWRITTEN`
    tokens, and half of it at least. What follows is the answer, which is superseded in any case:
    templates leave the reasoning out of it, clients trim it, or ask for another one. Two
    conversations under one system prompt differ within the prompt, however long that prompt is, so
    neither continues the other. A message that a client has edited makes another conversation too:
    the old one may be returned to. Of a prompt whose prefill was cancelled, what was evaluated
    counts.
    """
    told = min(held, prompted)
    return told > 0 and max(told - REWRITTEN, (told + 1) // 2) <= common


def worth(tokens: int, age: int) -> float:
    """Return what it is worth to keep *tokens* of a slot; *age* requests ended since its own did.

    That is what evaluating them again costs, times the chance that they are asked for, which falls
    with age. So many short requests do not evict a long conversation at once, and an abandoned one
    goes when they have cost as much as it would.
    """
    return tokens / age


class Slot(NamedTuple):
    """An idle slot as the rule sees it."""

    id: int
    continued: bool
    """Whether the prompt `continues` it."""
    usable: int
    """Tokens of the prompt that need not be evaluated again in this slot: its own, or copied."""
    lost: int
    """Tokens that are nowhere afterwards, neither in this slot nor in another one."""
    last_used: int
    """When its last request ended, on the clock of `choose`; 0 for never."""


def choose(slots: Iterable[Slot], now: int) -> int:
    """Return the id of the slot that a prompt goes into; *now* counts the requests that ended."""

    def cost(slot: Slot) -> tuple[bool, float, bool, int, int]:
        lost = 0.0 if slot.continued else worth(slot.lost, now + 1 - slot.last_used)
        return lost > 0, lost - slot.usable, not slot.continued, slot.last_used, slot.id

    return min(slots, key=cost).id
