"""Choose the models to unload. Pure."""

from collections.abc import Sequence

from msgspec import Struct

from pilotlight.models.catalog import ModelEntry
from pilotlight_backend import LoadOptions, ModelFacts, capacity

PROCESS_BYTES = 32 << 20
"""Memory of an engine's own process beside its model: the interpreter and the libraries."""


class Resident(Struct, frozen=True):
    """A model in memory: its *need* in bytes, its *users* now, and when it was *last_used*."""

    entry: ModelEntry
    need: int
    users: int
    last_used: float


def memory_need(facts: ModelFacts, options: LoadOptions) -> int:
    """Return the bytes that a model uses once loaded with *options*."""
    cached = options.prompt_cache.memory_bytes or 0
    return capacity.memory_need(facts, options, capacity.served_length(facts, options)) + cached


def choose(residents: Sequence[Resident], need: int, budget: int | None) -> list[ModelEntry] | None:
    """Return the models to unload to fit *need* bytes into *budget*, least recently used first.

    An empty list means that there is room; None, that unloading all idle models is not enough.
    """
    if budget is None:
        return []
    used = sum(resident.need for resident in residents)
    evicted: list[ModelEntry] = []
    for resident in idle(residents):
        if used + need <= budget:
            break
        used -= resident.need
        evicted.append(resident.entry)
    return evicted if used + need <= budget else None


def idle(residents: Sequence[Resident]) -> list[Resident]:
    """Return the models that no request uses, least recently used first."""
    unused = (resident for resident in residents if not resident.users)
    return sorted(unused, key=lambda resident: resident.last_used)
