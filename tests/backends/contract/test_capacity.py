"""Which context length a model that does not fit could have."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from pilotlight_backend import InsufficientMemory, LoadOptions, ModelFacts, capacity, cgroup

MB = 1_000_000
FACTS = ModelFacts(
    path=Path("m.gguf"),
    architecture="m",
    size_bytes=600 * MB,
    context_length=32_768,
    kv_bytes_per_token=100_000,
)
OPTIONS = LoadOptions(parallel=4, context_length=32_768)


@pytest.mark.parametrize(
    ("room", "remedy"),
    [
        # 4 slots of 100 kB a token: 600 MB + 400 kB a token.
        (20_000 * MB, "context_length 32768 would fit"),
        (5_000 * MB, "context_length 10752 would fit"),  # 11,000, rounded down to 256
        (703 * MB, "context_length 256 would fit"),
        (700 * MB, "context_length 768 with parallel 1 would fit"),  # 250 of four, 1,000 of one
        (610 * MB, "no context_length would fit"),
        (500 * MB, "no context_length would fit"),
    ],
)
def test_longest_context_that_fits(room, remedy):
    """It fits, and 256 tokens more would not."""
    assert capacity.fitting(FACTS, OPTIONS, room) == remedy


def test_length_is_at_most_the_one_in_force():
    """Not more than was asked for, than was trained, or than the default."""
    assert capacity.fitting(FACTS, replace(OPTIONS, context_length=512), 10**12).startswith(
        "context_length 512 "
    )
    assert capacity.fitting(replace(FACTS, context_length=2048), OPTIONS, 10**12).startswith(
        "context_length 2048 "
    )
    assert capacity.fitting(FACTS, LoadOptions(parallel=4), 10**12).startswith(
        "context_length 4096 "
    )


def test_model_without_a_cache_for_each_token():
    """A recurrent state is as large for any length: it fits, or nothing does."""
    recurrent = replace(FACTS, kv_bytes_per_token=0, state_bytes=50 * MB)
    assert capacity.fitting(recurrent, OPTIONS, 799 * MB) == (
        "context_length 32768 with parallel 1 would fit"
    )
    assert capacity.fitting(recurrent, OPTIONS, 649 * MB) == "no context_length would fit"


def test_the_length_that_is_suggested_is_accepted(monkeypatch):
    """Who follows the error has a model that fits."""
    room = 5_000 * MB
    monkeypatch.setattr(cgroup, "available_memory", lambda: room)
    with pytest.raises(InsufficientMemory) as caught:
        capacity.check_memory(FACTS, OPTIONS)
    assert str(caught.value) == (
        "the model needs 13.71 GB of memory, 5.00 GB are available; context_length 10752 would fit"
    )
    capacity.check_memory(
        replace(FACTS, context_length=10_752), replace(OPTIONS, context_length=10_752)
    )


def test_speculation_counts_logits_and_the_draft_model(tmp_path):
    """Two rows of logits for each drafted token of a step, and the file of a draft model."""
    facts = replace(FACTS, vocabulary_size=1000)
    draft = tmp_path / "draft.gguf"
    draft.write_bytes(bytes(5000))
    plain = capacity.memory_need(facts, OPTIONS, 256)

    def more(**given):
        return capacity.memory_need(facts, replace(OPTIONS, **given), 256) - plain

    assert more(speculation="ngram", draft_max=10) == 2 * 10 * 1000 * 4
    assert more(speculation="draft", draft_max=10, draft_model=draft) == 2 * 10 * 1000 * 4 + 5000
    assert more(speculation="draft", draft_max=10, draft_model=tmp_path / "none") == 80_000
    assert more(speculation="none", draft_model=draft) == 0


def test_every_part_of_a_draft_model_counts(tmp_path):
    """It may be a split file."""
    for number in (1, 2):
        (tmp_path / f"d-{number:05}-of-00002.gguf").write_bytes(bytes(1000 * number))
    drafts = replace(
        OPTIONS, speculation="draft", draft_max=10, draft_model=tmp_path / "d-00001-of-00002.gguf"
    )
    plain = replace(drafts, draft_model=None)
    assert (
        capacity.memory_need(FACTS, drafts, 256) - capacity.memory_need(FACTS, plain, 256) == 3000
    )


@pytest.mark.parametrize(("trained", "length"), [(100, 100), (10_000, 1024)])
def test_draft_model_has_as_many_slots_as_its_model(trained, length):
    """As long as its model's, and at most as long as it was trained with; no file counts."""
    draft = ModelFacts(
        path=Path("d.gguf"),
        architecture="x",
        context_length=trained,
        size_bytes=777,
        kv_bytes_per_token=3,
    )
    options = replace(OPTIONS, parallel=5, context_length=1024, speculation="draft")
    assert capacity.draft_slots(draft, FACTS, options) == 5 * length * 3


def test_what_is_loaded_beside_counts(monkeypatch):
    """A draft model's slots."""
    need = capacity.memory_need(FACTS, OPTIONS, FACTS.context_length)
    monkeypatch.setattr(cgroup, "available_memory", lambda: need + 10)
    capacity.check_memory(FACTS, OPTIONS, beside=10)
    with pytest.raises(InsufficientMemory):
        capacity.check_memory(FACTS, OPTIONS, beside=11)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_cache_grows_where_there_is_memory(monkeypatch, missing):
    need = 4 * (100 * 2048 + 7)
    monkeypatch.setattr(cgroup, "available_memory", lambda: need - missing)
    known = replace(FACTS, kv_bytes_per_token=100, state_bytes=7)
    if not missing:
        capacity.check_growth(known, LoadOptions(parallel=4), 2048)
        return
    with pytest.raises(InsufficientMemory) as caught:
        capacity.check_growth(known, LoadOptions(parallel=4), 2048)
    assert (caught.value.required, caught.value.available) == (need, need - 1)
    capacity.check_growth(known, LoadOptions(parallel=4, gpu_layers=1), 2048)
