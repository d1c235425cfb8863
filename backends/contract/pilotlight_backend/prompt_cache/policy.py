"""What a cached state is worth, and which one makes room. Pure.

A state is worth the tokens that nothing else has, divided by the number of requests until it is
likely to be used. The bytes that it takes are what it costs. `placement.worth` is the same rule for
slots.

Many conversations in turn are where the rule of the least recently used fails: the next one to
come is the one that was just evicted. So a state that was used before is expected after as many
requests as it took the last time. One that was not is expected as soon as the last conversation
that came back, if that was its turn: see `is_in_turn`.
"""

from collections.abc import Iterable
from typing import NamedTuple

from pilotlight_backend.placement import worth

_LATE = 2
"""How many times its last interval a state may be unused before it is expected no more than any."""


class Resident(NamedTuple):
    """A state as the rule sees it."""

    id: int
    tokens: int
    """Tokens that would have to be evaluated again without it: those that nothing else has."""
    due: int
    """Requests until it is likely to be used, at least 1: see `due`."""
    size: int
    """Its bytes."""


def due(age: int, interval: int | None) -> int:
    """Return after how many requests a state is likely to be used, at least 1.

    It was used *age* requests ago, and *interval* requests before that. Without an interval the
    best guess is that it stays unused as long as it was.
    """
    if interval is None or not is_expected(age, interval):
        return max(age, 1)
    return max(interval - age, 1)


def is_expected(age: int, interval: int) -> bool:
    """Return whether a state that comes every *interval* requests may still come after *age*."""
    return age <= _LATE * interval


def is_in_turn(interval: int, ages: Iterable[int]) -> bool:
    """Return whether conversations come in turn, when one comes back after *interval* requests.

    Then it is the one that was not used for longest. *ages* are those of the others; one that is
    late by more than `_LATE` is not expected any more. Of conversations that come at random some
    other one has nearly always waited for longer.
    """
    return not any(interval < age and is_expected(age, interval) for age in ages)


def value(resident: Resident) -> float:
    """Return what *resident* is worth: tokens that it saves, divided by the requests until then."""
    return worth(resident.tokens, resident.due)


def density(resident: Resident) -> float:
    """Return what a byte of *resident* is worth."""
    return value(resident) / max(resident.size, 1)


def to_evict(residents: Iterable[Resident], newcomer: Resident, room: int) -> list[int] | None:
    """Return which of *residents* make room for *newcomer*, cheapest first.

    *room* is what is free, in bytes; it may be negative. None: the newcomer is worth less than what
    it would displace, or is larger than everything together, and is not kept.
    """
    victims: list[int] = []
    displaced = 0.0
    for one in sorted(residents, key=lambda one: (density(one), -one.due, one.id)):
        if room >= newcomer.size:
            break
        victims.append(one.id)
        displaced += value(one)
        room += one.size
    if room < newcomer.size or displaced > value(newcomer):
        return None
    return victims
