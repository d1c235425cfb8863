"""The longest prefix, compared with a search through all entries."""

import random
from array import array

import pytest

from pilotlight_backend.placement import common_prefix
from pilotlight_backend.prompt_cache.entry import BLOCK, Entry, chain, file_name, seed_of
from pilotlight_backend.prompt_cache.index import PrefixIndex

SEED = seed_of("model", "")
OTHER = seed_of("model", "another key")


def plain(tokens, seed=SEED):
    """Return an entry that can be cut back anywhere."""
    return Entry(seed=seed, tokens=array("i", tokens), least=1, size=len(tokens))


def exact(tokens, *checkpoints, seed=SEED):
    """Return an entry of use at its end and at its checkpoints alone."""
    return Entry(
        seed=seed,
        tokens=array("i", tokens),
        least=len(tokens),
        checkpoints=checkpoints,
        size=len(tokens),
    )


def saved(entries, seed, prompt, most):
    """Return what is saved of *prompt* at the most, by looking at every entry."""
    return max((one.usable(prompt, most) for one in entries if one.seed == seed), default=0)


@pytest.mark.parametrize("seed", range(40))
def test_it_finds_what_a_search_through_all_finds(seed):
    """But for prefixes of less than a block, which two entries of a hash may differ in."""
    chance = random.Random(seed)  # noqa: S311 - cases, the same each time
    conversations = [[chance.randrange(9) for _ in range(chance.randrange(1, 400))]]
    for _ in range(30):
        kept = chance.choice(conversations)
        cut = chance.randrange(len(kept) + 1)
        conversations.append(
            kept[:cut] + [chance.randrange(9) for _ in range(chance.randrange(99))]
        )
    entries = []
    index = PrefixIndex()
    for tokens in conversations:
        if not tokens:
            continue
        scope = chance.choice([SEED, SEED, OTHER])
        if chance.random() < 0.5:
            entry = plain(tokens, scope)
        else:
            cuts = sorted({chance.randrange(1, len(tokens) + 1) for _ in range(3)} - {len(tokens)})
            entry = exact(tokens, *cuts, seed=scope)
        entries.append(entry)
        index.add(entry)
    for gone in chance.sample(entries, len(entries) // 3):
        entries.remove(gone)
        index.remove(gone)
    for prompt in conversations:
        most = len(prompt) - chance.randrange(2)
        for scope in (SEED, OTHER):
            found = index.longest(scope, prompt, most)
            tokens = found[1] if found else 0
            best = saved(entries, scope, prompt, most)
            assert tokens == best or 0 < best - tokens < BLOCK
            if found:
                assert found[0] in entries
                assert common_prefix(found[0].tokens, prompt) >= tokens


def test_a_prefix_of_another_scope_is_not_found():
    index = PrefixIndex()
    index.add(plain(range(200), OTHER))
    assert index.longest(SEED, range(300), 300) is None
    assert index.longest(OTHER, range(300), 300)[1] == 200


def test_an_entry_that_cannot_be_cut_is_of_no_use_for_a_shorter_prompt():
    index = PrefixIndex()
    index.add(exact(range(200), 130))
    assert index.longest(SEED, range(200), 199)[1] == 130
    assert index.longest(SEED, [*range(150), 0, 0], 152)[1] == 130
    assert index.longest(SEED, range(129), 129) is None
    assert index.longest(SEED, range(201), 200)[1] == 200


def test_what_begins_alike_is_covered_by_the_longer_one():
    index = PrefixIndex()
    short, long = plain(range(100)), plain(range(300))
    index.add(short)
    index.add(long)
    assert index.covering(short) is long
    assert index.covering(long) is None
    assert index.covered(long) == [short]
    assert index.shared(long) == BLOCK


def test_a_longer_state_that_cannot_be_cut_covers_what_it_has_a_checkpoint_for():
    short = exact(range(100))
    assert exact(range(300), 100).covers(short)
    assert not exact(range(300), 99).covers(short)
    assert not exact(range(300), 100).covers(plain(range(100)))


def test_an_empty_index_has_nothing_left():
    index = PrefixIndex()
    entries = [plain(range(1, 500)), exact(range(200), 70)]
    for entry in entries:
        index.add(entry)
    for entry in entries:
        index.remove(entry)
        index.remove(entry)
    assert len(index) == 0
    assert not index._at
    assert not index._ends


def test_hashes_continue_each_other():
    whole = list(chain(SEED, range(300)))
    first, *rest = whole
    assert len(whole) == 300 // BLOCK
    assert list(chain(first, range(300), BLOCK)) == rest


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128])
def test_a_name_is_of_every_token(count):
    tokens = list(range(count))
    entries = [
        plain(tokens),
        plain(tokens, OTHER),
        plain([*tokens, 0]),
        plain([*tokens[:-1], 99]),
        exact([*tokens, 1]),
        exact([*tokens, 1], 1),
    ]
    assert len({file_name("model", entry) for entry in entries}) == 6
