"""Who makes room."""

from pathlib import Path

import pytest

from pilotlight.models.catalog import ModelEntry, ModelOptions
from pilotlight.models.eviction import Resident, choose, memory_need
from pilotlight_backend import LoadOptions, ModelFacts


def resident(name: str, need: int, users: int, last_used: float) -> Resident:
    entry = ModelEntry(name, Path(name), "configured", ModelOptions(path=name))
    return Resident(entry, need, users, last_used)


OLD = resident("old", need=40, users=0, last_used=1)
NEW = resident("new", need=40, users=0, last_used=2)
BUSY = resident("busy", need=20, users=1, last_used=0)


@pytest.mark.parametrize(
    ("residents", "need", "budget", "evicted"),
    [
        ([OLD, NEW, BUSY], 1000, None, []),
        ([], 100, 100, []),
        ([], 101, 100, None),
        ([OLD], 60, 100, []),
        ([OLD], 61, 100, ["old"]),
        ([NEW, OLD], 30, 100, ["old"]),
        ([NEW, OLD], 70, 100, ["old", "new"]),
        ([BUSY], 81, 100, None),
        ([BUSY, NEW, OLD], 80, 100, ["old", "new"]),
        ([BUSY, NEW, OLD], 81, 100, None),
        ([BUSY], 0, 10, None),
    ],
)
def test_least_recently_used_idle_models_make_room(residents, need, budget, evicted):
    """As few idle models go as are needed, oldest first; a busy one never does."""
    chosen = choose(residents, need, budget)
    assert (chosen and [entry.name for entry in chosen]) == (evicted or chosen)
    assert (chosen is None) == (evicted is None)


@pytest.mark.parametrize(
    ("trained", "options", "need"),
    [
        (8192, LoadOptions(parallel=2, context_length=100), 1000 + 2 * 100 * 3),
        (8192, LoadOptions(parallel=1), 1000 + 4096 * 3),
        (512, LoadOptions(parallel=4), 1000 + 4 * 512 * 3),
    ],
)
def test_need_is_the_weights_and_the_cache_of_every_slot(trained, options, need):
    """A model takes its file's bytes, and for each slot the KV cache of a whole context."""
    facts = ModelFacts(
        path=Path("m"),
        architecture="a",
        context_length=trained,
        size_bytes=1000,
        kv_bytes_per_token=3,
    )
    assert memory_need(facts, options) == need


def test_model_that_embeds_needs_one_cache():
    """It forgets an input once it is embedded, however many slots are asked for."""
    facts = ModelFacts(
        path=Path("m"),
        architecture="fake",
        context_length=100,
        size_bytes=1000,
        kv_bytes_per_token=3,
        embedding_length=8,
    )
    assert memory_need(facts, LoadOptions(parallel=4)) == 1300
