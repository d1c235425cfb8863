"""What a cached state is worth, and which one makes room. Pure.

A state is worth what it saves: the tokens that nobody else has, times the chance that they are
asked for again, which falls with the number of requests since. The bytes that it takes are what it
costs. `placement.worth` is the same rule for slots.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pilotlight_backend.placement import worth


class Resident(NamedTuple):
    """A state as the rule sees it."""

    id: int
    tokens: int
    """Tokens that would have to be evaluated again without it: those that nothing else has."""
    age: int
    """Requests since it was of use, at least 1."""
    size: int
    """Its bytes."""


def density(resident: Resident) -> float:
    """Return what a byte of *resident* is worth."""
    return worth(resident.tokens, resident.age) / max(resident.size, 1)


def to_evict(residents: Iterable[Resident], newcomer: Resident, room: int) -> list[int] | None:
    """Return which of *residents* make room for *newcomer*, cheapest first.

    *room* is what is free, in bytes; it may be negative. None: the newcomer is worth less than what
    it would displace, or is larger than everything together, and is not kept.
    """
    victims: list[int] = []
    displaced = 0.0
    for one in sorted(residents, key=lambda one: (density(one), -one.age, one.id)):
        if room >= newcomer.size:
            break
        victims.append(one.id)
        displaced += worth(one.tokens, one.age)
        room += one.size
    if room < newcomer.size or displaced > worth(newcomer.tokens, newcomer.age):
        return None
    return victims
