"""Chooses the slot for a prompt: the rule of every backend's prompt cache. Pure.

A slot keeps the tokens of its last request, so that of the next turn of a conversation only the new
tokens are evaluated. A slot's content is worth what it costs to evaluate it again:

1. A prompt goes into the slot that it continues.
2. Otherwise into a slot without loss: an empty one, or one whose tokens another slot has too. So
   conversations keep their history as long as there are as many slots.
3. Otherwise into the slot with the lowest sum of tokens to evaluate now and worth of tokens lost.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

REWRITTEN = 5
"""Tokens at a prompt's end that a chat template may render differently in the next turn. Qwen3's
ends a prompt without reasoning with `<think>\\n\\n</think>\\n\\n`, four tokens, and omits it from
the history. Two conversations differ farther from the end: after the last message, templates
render a turn's end and the next one's start, five tokens or more."""

_BLOCK = 512


def common_prefix(held: Sequence[int], prompt: Sequence[int]) -> int:
    """Return how many tokens *held* and *prompt* share from the start."""
    length = min(len(held), len(prompt))
    # Blocks are compared in C: one by one, 32,000 tokens would take a millisecond for each slot.
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
    """Return whether a prompt is the next turn of a slot's conversation, or the same turn again.

    The slot holds *held* tokens, *prompted* of them from its last request's prompt; the new prompt
    shares the first *common*. It continues the slot if it repeats the old prompt except for
    `REWRITTEN` tokens, and at least half of it.

    The old answer need not be repeated: templates omit its reasoning, and clients trim it or ask
    for another one. Two conversations with the same system prompt differ within the prompt, so
    neither continues the other. A message that the client has edited starts another conversation,
    since the user may return to the old one. If the old prefill was cancelled, only the tokens that
    were evaluated count.
    """
    evaluated = min(held, prompted)
    return evaluated > 0 and max(evaluated - REWRITTEN, (evaluated + 1) // 2) <= common


def worth(tokens: int, age: int) -> float:
    """Return the worth of *tokens* in a slot; *age* requests have ended since its last one.

    It is the cost of evaluating them again times the chance that they are needed, which falls with
    age. So short requests do not evict a long conversation at once, and an abandoned one is evicted
    when they have cost as much as it would.
    """
    return tokens / age


class Slot(NamedTuple):
    """An idle slot, as far as the rule needs it."""

    id: int
    continued: bool
    """Whether the prompt `continues` it."""
    usable: int
    """Prompt tokens that this slot has or can copy, so they are not evaluated again."""
    lost: int
    """Tokens that no slot would have afterwards."""
    last_used: int
    """When its last request ended, on the clock of `choose`; 0: never."""


def choose(slots: Iterable[Slot], now: int) -> int:
    """Return the id of the slot for a prompt; *now* is the number of ended requests."""

    def cost(slot: Slot) -> tuple[bool, float, bool, int, int]:
        lost = 0.0 if slot.continued else worth(slot.lost, now + 1 - slot.last_used)
        return lost > 0, lost - slot.usable, not slot.continued, slot.last_used, slot.id

    return min(slots, key=cost).id
