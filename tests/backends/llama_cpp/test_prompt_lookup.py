"""Prompt lookup: what followed where the last tokens came before."""

import random

import pytest

from pilotlight_llama_cpp.prompt_lookup import LONGEST, Match, PromptLookup


def lookup_of(tokens, shortest=3):
    lookup = PromptLookup(shortest)
    lookup.extend(tokens)
    return lookup


def test_what_followed_is_found():
    """The three last tokens came before: the tokens behind that place are the draft."""
    assert lookup_of([1, 2, 3, 4, 5, 6, 9, 1, 2, 3]).find(3) == Match(3, (4, 5, 6))


@pytest.mark.parametrize("tokens", [[], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4, 1, 2], [1, 2] * 2])
def test_nothing_is_found_without_a_whole_match(tokens):
    """Fewer tokens in common than the shortest match are none."""
    assert lookup_of(tokens).find(4) is None


def test_longer_match_wins_over_a_later_one():
    """More tokens before the place are the same, so what followed there is likelier."""
    tokens = [8, 1, 2, 3, 50, 9, 1, 2, 3, 60, 8, 1, 2, 3]
    assert lookup_of(tokens).find(1) == Match(4, (50,))


def test_later_one_of_equal_matches_wins():
    """The text nearer by is more alike."""
    tokens = [7, 1, 2, 3, 50, 9, 1, 2, 3, 60, 8, 1, 2, 3]
    assert lookup_of(tokens).find(1) == Match(3, (60,))


def test_match_that_reaches_the_end_repeats_itself():
    """A period goes on for as long as is asked."""
    assert lookup_of([4, 5] * 4).find(5).tokens == (4, 5, 4, 5, 4)
    assert lookup_of([6] * 5).find(3).tokens == (6, 6, 6)


def test_shortest_match_is_a_choice():
    """One token in common is enough if that is asked for."""
    assert lookup_of([5, 6, 7, 5], shortest=1).find(2) == Match(1, (6, 7))
    assert lookup_of([1, 2, 3, 4, 5, 9, 1, 2, 3, 4], shortest=5).find(2) is None


def test_token_by_token_is_as_all_at_once():
    """The index is extended, and never made anew."""
    chance = random.Random(1)  # noqa: S311 - repeatable
    tokens = [chance.randrange(6) for _ in range(300)]
    lookup = PromptLookup(3)
    for count, token in enumerate(tokens, 1):
        lookup.extend([token])
        assert lookup.find(8) == lookup_of(tokens[:count]).find(8)
    assert len(lookup) == 300


def test_every_match_is_one():
    """The tokens before the place are those at the end, and nothing longer is among the last."""
    chance = random.Random(2)  # noqa: S311 - repeatable
    tokens = [chance.randrange(4) for _ in range(400)]
    match = lookup_of(tokens).find(4)
    places = [
        place
        for place in range(3, 400)
        if tokens[place - match.length : place] == tokens[-match.length :]
    ]
    assert match.tokens[0] in {tokens[place] for place in places}


def test_length_of_a_match_is_bounded():
    """A long repetition counts as the longest match, and takes no longer."""
    assert lookup_of([1] * 5000).find(2).length == LONGEST


class Counted(int):
    """A token that counts how often one is compared with another."""

    comparisons = 0

    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return int(self) == other


def comparisons(tokens, count):
    """Return how many tokens are compared for the last *count* of *tokens*, with a lookup each."""
    tokens = [Counted(token) for token in tokens]
    lookup = lookup_of(tokens[:-count])
    Counted.comparisons = 0
    for token in tokens[-count:]:
        lookup.extend([token])
        lookup.find(32)
    return Counted.comparisons


@pytest.mark.parametrize("kinds", [1, 2, 4])
def test_comparisons_of_a_token_do_not_grow(kinds):
    """In the worst texts, which repeat themselves without end, long ones and short ones."""
    chance = random.Random(kinds)  # noqa: S311 - repeatable
    words = [[chance.randrange(4) for _ in range(40)] for _ in range(kinds)]
    text = [token for _ in range(1000) for token in chance.choice(words)]
    short, long = comparisons(text[-4000:], 100), comparisons(text, 100)
    assert 100 <= long <= 100 * 2 * 16 * LONGEST  # `_CANDIDATES` in each of two chains
    assert long <= 2 * short


FUNCTIONS = [[1, 2, 3, 4, 5, 6, 7, 100 + number] for number in range(60)]
FILE = [token for function in FUNCTIONS for token in function]


def test_copy_goes_on_where_it_was():
    """Of many places like it, the next function of the file is behind the last one that came."""
    lookup = lookup_of(FILE)
    for number in range(50):
        lookup.extend(FUNCTIONS[number])
        if number > 1:
            end = 8 * (number + 1)
            assert lookup.find(16).tokens == tuple(FILE[end : end + 16])


@pytest.mark.parametrize(
    "changed", [[*FILE[:82], 9], [*FILE[:83], 9], FILE[:80]], ids=["other", "more", "fewer"]
)
def test_place_is_found_again_behind_a_change(changed):
    """A token is replaced, one is added, three are missing; what follows is that of the file."""
    lookup = lookup_of([*FILE, 500])
    lookup.extend(changed)
    lookup.find(1)
    lookup.extend(FILE[83:96])
    assert lookup.find(8).tokens == tuple(FILE[96:104])


def test_long_match_is_found_among_many_short_ones():
    """The right place is not among the last ones where the shortest match came."""
    right = [*range(500, 512), 1, 2, 3]
    lookup = lookup_of([*right, 77, *([1, 2, 3, 9] * 200), *right])
    assert lookup.find(1) == Match(15, (77,))
