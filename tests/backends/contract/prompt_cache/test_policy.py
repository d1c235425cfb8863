"""Which states make room, on traces of requests."""

import random

import pytest

from pilotlight_backend.prompt_cache import PromptCache, Snapshot
from pilotlight_backend.prompt_cache.policy import Resident, due, is_in_turn, to_evict

LENGTH = 100


class Server:
    """Slots and a prompt cache, as an engine uses them; counts the prompts that were cached."""

    def __init__(self, slots, room):
        self.cache = PromptCache(identity="", memory_limit=room * LENGTH)
        self.slots = dict.fromkeys(range(slots))
        self.used = dict.fromkeys(range(slots), 0)
        self.now = 0
        self.hits = 0

    def ask(self, name):
        self.now += 1
        tokens = range(name * 1000, name * 1000 + LENGTH)
        slot = next((one for one, held in self.slots.items() if held == name), None)
        if slot is not None:
            self.hits += 1
        else:
            found = self.cache.find("", [*tokens, 0], LENGTH)
            slot = min(self.slots, key=self.used.get)
            if found:
                self.hits += 1
                self.cache.used(found)
            self.evict(slot)
            self.slots[slot] = name
        self.used[slot] = self.now

    def evict(self, slot):
        name = self.slots[slot]
        if name is None:
            return
        tokens = range(name * 1000, name * 1000 + LENGTH)
        age = self.now - self.used[slot]
        if self.cache.wants("", tokens, least=1, size=LENGTH, age=age):
            self.cache.put("", tokens, Snapshot(state=bytes(LENGTH)), least=1, age=age)


def test_conversations_in_turn_that_fit_are_all_kept():
    server = Server(slots=4, room=8)
    for _ in range(6):
        for name in range(12):
            server.ask(name)
    assert server.hits == 5 * 12


def test_of_more_conversations_in_turn_than_fit_most_are_kept():
    """The least recently used would always be the next to come: it keeps none."""
    server = Server(slots=4, room=6)
    for _ in range(20):
        for name in range(12):
            server.ask(name)
    assert server.hits > 0.6 * 19 * 12


@pytest.mark.parametrize(("room", "expected"), [(3, 3), (5, 6), (6, 8), (7, 10), (8, 12)])
def test_the_second_turn_already_finds_what_could_be_kept(room, expected):
    """The first conversation that comes back too late shows after how many requests they do."""
    server = Server(slots=4, room=room)
    for name in [*range(12), *range(12)]:
        server.ask(name)
    assert server.hits == expected


def test_conversations_that_others_left_are_waited_for_once_only():
    """Eight that never come back look as if their turn was before that of the twelve."""
    server = Server(slots=4, room=6)
    for name in range(100, 108):
        server.ask(name)
    for _ in range(5):
        for name in range(12):
            server.ask(name)
    assert server.hits >= 3 * 8


def test_a_conversation_outlives_many_that_come_once():
    server = Server(slots=2, room=3)
    for number in range(60):
        server.ask(1000 + number)
        if number % 4 == 0:
            server.ask(1)
    assert server.hits == 14


def test_conversations_that_come_at_random():
    server = Server(slots=4, room=8)
    chance = random.Random(1)  # noqa: S311 - cases, the same each time
    for _ in range(600):
        server.ask(min(int(chance.expovariate(0.15)), 40))
    assert server.hits > 300


@pytest.mark.parametrize(
    ("age", "interval", "expected"),
    [(5, None, 5), (0, None, 1), (3, 10, 7), (10, 10, 1), (15, 10, 1), (21, 10, 21)],
)
def test_when_a_state_is_due(age, interval, expected):
    assert due(age, interval) == expected


@pytest.mark.parametrize(
    ("interval", "ages", "expected"),
    [
        (12, [1, 5, 11], True),
        (12, [1, 12], True),
        (12, [13], False),
        (12, [24], False),
        (12, [25, 1000], True),
        (1, [2], False),
        (5, [], True),
    ],
)
def test_conversations_come_in_turn_if_none_has_waited_for_longer(interval, ages, expected):
    assert is_in_turn(interval, ages) is expected


def test_a_newcomer_that_is_worth_less_is_not_kept():
    good = Resident(0, tokens=100, due=1, size=10)
    assert to_evict([good], Resident(1, tokens=50, due=1, size=10), 0) is None
    assert to_evict([good], Resident(1, tokens=150, due=1, size=10), 0) == [0]
    assert to_evict([good], Resident(1, tokens=150, due=1, size=10), 10) == []
    assert to_evict([good], Resident(1, tokens=1500, due=1, size=100), 0) is None
