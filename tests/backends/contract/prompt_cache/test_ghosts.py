"""Conversations that come back after their state was evicted."""

from array import array

import pytest

from pilotlight_backend.prompt_cache.entry import BLOCK, Entry, seed_of
from pilotlight_backend.prompt_cache.ghosts import Ghosts

SEED = seed_of("model", "")


def entry(*parts, used=1):
    """Return an entry of blocks, each of one token again and again."""
    tokens = [token for token in parts for _ in range(BLOCK)]
    return Entry(seed=SEED, tokens=array("i", tokens), least=1, size=1, used=used)


def hashes(*parts):
    return entry(*parts).hashes


def test_the_next_turn_is_known_again():
    ghosts = Ghosts()
    ghosts.add(entry(1, 2, 3, 4, used=5), shared=0)
    ghost = ghosts.find(hashes(1, 2, 3, 4, 9))
    assert ghosts.use(ghost, 17) == 12
    assert (ghost.used, ghost.interval) == (17, 12)


@pytest.mark.parametrize(
    ("prompt", "is_known"),
    [
        ((1, 2, 3, 4, 5, 6, 7, 0), True),
        ((1, 2, 3, 4, 5, 6, 0, 0), True),
        ((1, 2, 3, 4, 0, 0, 0, 0), True),
        ((1, 2, 3, 0, 0, 0, 0, 0), False),
        ((0, 2, 3, 4, 5, 6, 7, 8), False),
    ],
)
def test_half_of_a_conversation_is_enough(prompt, is_known):
    """Its end may be rendered differently: reasoning is omitted."""
    ghosts = Ghosts()
    ghosts.add(entry(1, 2, 3, 4, 5, 6, 7, 8), shared=0)
    assert (ghosts.find(hashes(*prompt)) is not None) is is_known


def test_what_others_share_is_nobodys():
    ghosts = Ghosts()
    ghosts.add(entry(1, 2, 3, 4, 5, 6), shared=5)
    assert ghosts.find(hashes(1, 2, 3, 4, 5, 9)) is None
    assert ghosts.find(hashes(1, 2, 3, 4, 5, 6)) is not None
    ghosts.add(entry(1, 2), shared=2)
    assert ghosts.find(hashes(1, 2)) is None


def test_choices_of_one_prompt_are_no_turns():
    ghosts = Ghosts()
    ghosts.add(entry(1, 2, used=5), shared=0)
    ghost = ghosts.find(hashes(1, 2))
    assert [ghosts.use(ghost, now) for now in (17, 18, 19, 31)] == [12, None, None, 12]


def test_a_longer_turn_takes_the_place_of_the_one_before():
    ghosts = Ghosts()
    ghosts.add(entry(1, 2, 3, 4, used=5), shared=0)
    ghosts.add(entry(1, 2, 3, 4, 5, used=9), shared=0)
    assert list(ghosts.uses()) == [9]


def test_the_oldest_are_forgotten():
    ghosts = Ghosts()
    for number in range(1100):
        ghosts.add(entry(number, number, used=number), shared=0)
    assert sorted(ghosts.uses()) == list(range(76, 1100))
    assert ghosts.find(hashes(75, 75)) is None
    assert ghosts.find(hashes(76, 76)) is not None
