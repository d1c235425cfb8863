"""How long the states are that a folder's instances used last."""

import os
import time

import pytest

from pilotlight_backend.prompt_cache import PromptCache, Snapshot, prepare
from pilotlight_backend.prompt_cache.guarded import GuardedStorage
from pilotlight_backend.prompt_cache.recent import RecentLengths
from pilotlight_backend.prompt_cache.storage import Folder
from pilotlight_backend.types import PromptCacheOptions


def store(path, identity, length, *, age):
    """Store a state of *length* tokens that was used *age* seconds ago; return its file."""
    storage = Folder(path)
    before = {file.name for file in storage.files()}
    files = GuardedStorage(lambda: storage, prefix=f"{identity}-", limit=None, ttl=None)
    states = PromptCache(identity=identity, memory_limit=0, files=files)
    states.put("", range(length), Snapshot(b"state"), least=1, store=True)
    assert states.wait(10)
    states.close(10)
    (name,) = {file.name for file in storage.files()} - before
    used = time.time() - age
    os.utime(path / name, (used, used))
    return path / name


def recent(path):
    found = RecentLengths(str(path))
    assert found.done.wait(10)
    return found


def test_the_state_that_was_used_last_counts_for_each_model(tmp_path):
    for identity, length, age in [("a", 900, 3), ("a", 300, 1), ("a", 700, 2), ("b", 500, 9)]:
        store(tmp_path, identity, length, age=age)
    found = recent(tmp_path)
    assert [found.of(identity) for identity in ("a", "b", "c")] == [300, 500, 0]


def test_a_damaged_file_says_nothing_and_stays_for_others_to_report(tmp_path):
    file = store(tmp_path, "a", 300, age=1)
    file.write_bytes(b"damaged")
    assert recent(tmp_path).of("a") == 0
    assert file.exists()


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_what_is_no_folder_has_no_states(tmp_path, kind):
    path = tmp_path / "states"
    if kind == "file":
        path.write_text("")
    assert recent(path).of("a") == 0


def test_a_folder_alone_is_asked(tmp_path):
    """A bucket's answer would come too late, and cost a request."""
    assert prepare(PromptCacheOptions(storage=None)) is None
    assert prepare(PromptCacheOptions(storage="memory://states")) is None
    found = prepare(PromptCacheOptions(storage=str(tmp_path)))
    assert found is not None
    assert found.done.wait(10)
