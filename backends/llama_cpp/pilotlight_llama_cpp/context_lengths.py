"""How long a model's contexts are, one after another, and when the next one is begun. Pure."""

from itertools import count, takewhile

from pilotlight_backend import ModelFacts
from pilotlight_llama_cpp.model import LlamaModel

SHORT = 1024
"""Tokens of a slot in the first context."""

_AHEAD = 256
"""Tokens before the end of a context at which the next one is begun: generating them takes longer
than to make it. In a short context it is a quarter of its length."""


def lengths(
    facts: ModelFacts,
    model: LlamaModel,
    *,
    slots: int,
    gpu_layers: int,
    available_memory: int | None,
    beside: int = 0,
    baked: int = 0,
    expected: int = 0,
) -> tuple[int, ...]:
    """Return the lengths that contexts for *facts* have one after another; the last is the full.

    *beside* is the bytes that other contexts and a draft model take later.
    *baked* is the number of tokens of the baked prompt, which takes its part of each slot.
    *expected* is the number of tokens that the first request is likely to continue.
    """
    full = facts.context_length
    if gpu_layers or not model.movable_cache:
        return (full,)
    token = facts.kv_bytes_per_token
    # While the slots are moved both contexts are in memory, the state of one slot, and of a sliding
    # window that of all slots.
    moved = 1 + (2 * slots if model.sliding_window else slots)
    room = None
    if available_memory is not None:
        states = (2 * slots + 1) * facts.state_bytes
        room = available_memory - facts.size_bytes - full * token * slots - states - beside
    # One that saves less than half is not worth it, nor one that would soon grow.
    doubled = takewhile(lambda length: 2 * length <= full, (SHORT << n for n in count()))
    shorter = [
        length
        for length in doubled
        if baked <= length // 2
        and expected <= length - ahead(length)
        and (room is None or length * token * moved <= room)
    ]
    return (*shorter, full)


def ahead(length: int) -> int:
    """Return how many tokens before the end of a context of *length* the next one is begun."""
    return min(_AHEAD, length // 4)
