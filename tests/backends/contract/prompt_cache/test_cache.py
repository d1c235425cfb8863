"""States are found again: in memory, in a folder, and by another instance."""

import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from pilotlight_backend.prompt_cache import Checkpoint, PromptCache, Snapshot, entry
from pilotlight_backend.prompt_cache.guarded import GuardedStorage
from pilotlight_backend.prompt_cache.storage import Folder


def cache(folder=None, *, memory=1000, limit=None):
    """Return a cache, with storage in *folder*."""
    files = None
    if folder is not None:
        files = GuardedStorage(lambda: Folder(folder), prefix="abc-", limit=limit, ttl=None)
    return PromptCache(identity="abc", memory_limit=memory, files=files)


def snapshot(size, byte=b"s"):
    return Snapshot(state=byte * size)


def fetched(cache, scope, prompt, have=0):
    """Return what storage has of *prompt*."""
    event, found = threading.Event(), []

    def done(one):
        found.append(one)
        event.set()

    if not cache.fetch(scope, prompt, len(prompt) - 1, have=have, seconds_per_token=1.0, done=done):
        return None
    assert event.wait(10)
    (one,) = found
    return one


def test_the_next_turn_of_a_conversation_finds_its_state():
    states = cache()
    states.put("", range(100), snapshot(10), least=1)
    found = states.find("", range(150), 149)
    assert (found.tokens, found.tier, found.snapshot.state) == (100, "memory", b"s" * 10)
    assert states.find("else", range(150), 149) is None


def test_a_state_that_is_here_is_not_wanted_again():
    states = cache()
    assert states.wants("", range(100), least=1, size=10)
    states.put("", range(100), snapshot(10), least=1)
    assert not states.wants("", range(100), least=1, size=10)
    assert not states.wants("", range(80), least=1, size=8)
    assert states.wants("", range(101), least=1, size=10)
    assert not states.wants("", range(20), least=1, size=2)


def test_a_longer_state_takes_the_place_of_a_shorter_one():
    states = cache()
    states.put("", range(100), snapshot(10), least=1)
    states.put("", range(200), snapshot(20), least=1)
    assert states.stats().memory_bytes == 20
    assert states.stats().memory_entries == 1


def test_the_least_valuable_makes_room():
    states = cache(memory=25)
    states.put("", range(1000, 1100), snapshot(10), least=1)
    states.put("", range(2000, 2100), snapshot(10), least=1)
    for _ in range(3):
        states.used(states.find("", range(1000, 1101), 100))
        assert not states.wants("", range(1000, 1100), least=1, size=10)  # its slot is taken
    states.put("", range(3000, 3100), snapshot(10), least=1)
    assert states.find("", range(1000, 1101), 100)
    assert states.find("", range(2000, 2101), 100) is None
    assert states.find("", range(3000, 3101), 100)
    assert states.stats().evictions == 1


def test_no_memory_keeps_nothing():
    states = cache(memory=0)
    assert not states.wants("", range(100), least=1, size=10)
    states.put("", range(100), snapshot(10), least=1)
    assert states.stats().memory_entries == 0


def test_another_instance_finds_what_was_written(tmp_path: Path):
    one = cache(tmp_path, memory=0)
    kept = Snapshot(state=b"s" * 5000, checkpoints=(Checkpoint(tokens=70, state=b"c" * 7),))
    one.put("key", range(200), kept, least=200, store=True)
    one.close(10)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    two = cache(tmp_path, memory=0)
    found = fetched(two, "key", range(300))
    assert (found.tokens, found.tier) == (200, "storage")
    assert found.snapshot == kept
    assert fetched(two, "key", [*range(199), 0, 0, 0]).tokens == 70
    assert fetched(two, "", range(300)) is None
    assert two.stats().storage_entries == 1
    two.close(10)


@pytest.mark.parametrize("at", [0, 9, 30, 200, -1])
def test_a_flipped_byte_is_a_miss_and_its_file_goes(tmp_path: Path, at):
    one = cache(tmp_path)
    one.put("", range(200), snapshot(5000), least=1, store=True)
    one.close(10)
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)
    two = cache(tmp_path)
    assert fetched(two, "", range(300)) is None
    assert list(tmp_path.iterdir()) == []
    two.close(10)


@pytest.mark.parametrize("size", [0, 10, 60, 3000])
def test_a_file_that_was_cut_short_is_a_miss(tmp_path: Path, size):
    one = cache(tmp_path)
    one.put("", range(200), snapshot(5000), least=1, store=True)
    one.close(10)
    (file,) = tmp_path.iterdir()
    os.truncate(file, size)
    two = cache(tmp_path)
    assert fetched(two, "", range(300)) is None
    assert list(tmp_path.iterdir()) == [file]  # another instance may be writing it
    two.close(10)
    os.utime(file, (0, 0))
    three = cache(tmp_path)
    assert fetched(three, "", range(300)) is None
    assert list(tmp_path.iterdir()) == []
    three.close(10)


def test_a_renamed_file_is_a_miss(tmp_path: Path):
    one = cache(tmp_path)
    one.put("", range(200), snapshot(50), least=1, store=True)
    one.close(10)
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / f"abc-{'0' * 32}.state")
    two = cache(tmp_path)
    assert fetched(two, "", range(300)) is None
    two.close(10)


def test_clearing_a_scope_leaves_the_others(tmp_path: Path):
    states = cache(tmp_path)
    for scope in ("a", "b"):
        states.put(scope, range(100), snapshot(10), least=1, store=True)
        assert states.wait(10)
    states.clear("a")
    assert states.find("a", range(150), 149) is None
    assert states.find("b", range(150), 149)
    states.close(10)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_oldest_files_make_room(tmp_path: Path):
    states = cache(tmp_path, limit=13_000)
    for number in range(3):
        first = number * 1000
        states.busy()
        states.put("", range(first, first + 100), snapshot(5000), least=1, store=True)
        assert states.wait(10)
        for age, file in enumerate(sorted(tmp_path.iterdir(), key=lambda one: one.stat().st_mtime)):
            os.utime(file, (age, age))
    states.close(10)
    assert len(list(tmp_path.iterdir())) == 2
    again = cache(tmp_path)
    assert fetched(again, "", range(150)) is None
    assert fetched(again, "", range(2000, 2150)).tokens == 100
    again.close(10)


def test_a_request_that_comes_during_the_first_listing_waits_for_it(tmp_path: Path):
    one = cache(tmp_path)
    one.put("", range(100), snapshot(10), least=1, store=True)
    one.close(10)
    listing, found = threading.Event(), []

    class Slow(Folder):
        def files(self):
            assert listing.wait(10)
            return super().files()

    files = GuardedStorage(lambda: Slow(tmp_path), prefix="abc-", limit=None, ttl=None)
    two = PromptCache(identity="abc", memory_limit=1000, files=files)
    done = threading.Event()

    def hear(one):
        found.append(one)
        done.set()

    assert two.fetch("", range(150), 149, have=0, seconds_per_token=1.0, done=hear)
    listing.set()
    assert done.wait(10)
    assert found[0].tokens == 100
    two.close(10)


def test_a_state_that_is_cleared_while_it_is_read_is_not_kept(tmp_path: Path):
    one = cache(tmp_path)
    one.put("", range(100), snapshot(10), least=1, store=True)
    one.close(10)
    reading, go_on = threading.Event(), threading.Event()

    class Slow(Folder):
        def read(self, name):
            whole = super().read(name)
            reading.set()
            assert go_on.wait(10)
            return whole

    files = GuardedStorage(lambda: Slow(tmp_path), prefix="abc-", limit=None, ttl=None)
    two = PromptCache(identity="abc", memory_limit=1000, files=files)
    done, found = threading.Event(), []

    def hear(one):
        found.append(one)
        done.set()

    assert two.fetch("", range(150), 149, have=0, seconds_per_token=1.0, done=hear)
    assert reading.wait(10)
    two.clear("")
    go_on.set()
    assert done.wait(10)
    assert found == [None]
    assert two.find("", range(150), 149) is None
    assert two.stats().memory_entries == 0
    two.close(10)
    assert list(tmp_path.iterdir()) == []


def test_what_memory_has_is_written_the_most_valuable_first(tmp_path: Path):
    states = cache(tmp_path)
    states.put("", range(1000, 1100), snapshot(10), least=1)
    states.put("", range(2000, 2300), snapshot(30), least=1)
    assert states.store_next()
    assert states.wait(10)
    assert states.stats().storage_bytes == 30
    assert states.store_next()
    assert states.wait(10)
    assert not states.store_next()
    states.close(10)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_state_with_other_checkpoints_is_another_one(tmp_path: Path):
    """Its file as well: neither is found where only the other one is of use."""
    few = Snapshot(state=b"a" * 10, checkpoints=(Checkpoint(tokens=70, state=b"c" * 7),))
    more = Snapshot(
        state=b"b" * 10,
        checkpoints=(*few.checkpoints, Checkpoint(tokens=140, state=b"d" * 9)),
    )
    for first, second in ((few, more), (more, few)):
        states = cache(tmp_path, memory=1000)
        states.put("", range(200), first, least=200, store=True)
        assert states.wait(10)
        states.put("", range(200), second, least=200)
        for length in (100, 150):
            found = states.find("", [*range(length), *[0] * 100], length + 99)
            lengths = [one.tokens for one in found.snapshot.checkpoints]
            assert found.tokens in lengths
        kept = [one for one in states._states.index if one.snapshot is not None]
        assert states.stats().memory_bytes == sum(one.snapshot.size for one in kept)
        states.clear()
        states.close(10)
        assert list(tmp_path.iterdir()) == []


def test_the_file_of_a_state_that_was_superseded_is_cleared_too(tmp_path: Path):
    states = cache(tmp_path, memory=0)
    for length in (100, 200):
        states.put("", range(length), snapshot(10), least=1, store=True)
        assert states.wait(10)
    assert len(list(tmp_path.iterdir())) == 2
    states.clear()
    assert states.stats().storage_entries == 0
    states.close(10)
    assert list(tmp_path.iterdir()) == []


def written(states, firsts, size):
    """Store what idle slots hold, as an engine does, until nothing is left; return how much."""
    count = 0
    for _ in range(20):
        for first in firsts:
            tokens = range(first, first + 100)
            if states.wants("", tokens, least=1, size=size, store=True):
                states.put("", tokens, snapshot(size), least=1, store=True)
                break
        else:
            return count
        assert states.wait(10)
        count += 1
    return count


def test_states_that_do_not_all_fit_into_the_storage_are_written_once(tmp_path: Path):
    states = cache(tmp_path, memory=0, limit=13_000)
    assert written(states, (1000, 2000, 3000), 5000) == 2
    assert written(states, (1000, 2000, 3000), 5000) == 0
    states.busy()
    assert written(states, (3000, 1000, 2000), 5000) == 1
    states.busy()
    assert written(states, (3000, 1000, 2000), 5000) == 0
    found = fetched(states, "", range(3000, 3150))
    assert found.tokens == 100
    states.close(10)


def test_a_state_that_is_larger_than_the_storage_is_not_written(tmp_path: Path):
    states = cache(tmp_path, memory=100_000, limit=13_000)
    assert written(states, (1000,), 5000) == 1
    states.put("", range(200), snapshot(20_000), least=1)
    assert not states.wants("", range(200), least=1, size=20_000, store=True)
    assert not states.store_next()
    states.close(10)
    assert len(list(tmp_path.iterdir())) == 1


def taken(states, first):
    """Use the state of a conversation, whose slot is taken again."""
    prompt = range(first, first + 101)
    states.used(states.find("", prompt, 100))
    assert not states.wants("", prompt[:100], least=1, size=10)


def conversation(states, first, *, stays=False):
    states.find("", range(first, first + 100), 99)
    states.put("", range(first, first + 100), snapshot(10), least=1, stays=stays)


def test_what_memory_evicts_is_written_if_its_conversation_came_back(tmp_path: Path):
    """Requests that never end leave no idle time, in which it would be written."""
    states = cache(tmp_path, memory=25)
    conversation(states, 1000)
    taken(states, 1000)
    for first in (2000, 3000, 4000, 5000):
        conversation(states, first)
    assert states.wait(10)
    assert states.find("", range(1000, 1101), 100) is None
    assert fetched(states, "", range(1000, 1101)).tokens == 100
    assert states.stats().stored == 1
    states.close(10)


def test_what_came_once_is_not_written_when_it_makes_room(tmp_path: Path):
    """It would be a write for each request."""
    states = cache(tmp_path, memory=25)
    for first in range(1000, 9000, 1000):
        conversation(states, first)
    states.close(10)
    assert states.stats().evictions == 6
    assert list(tmp_path.iterdir()) == []


def test_what_a_slot_still_has_is_not_written_when_it_makes_room(tmp_path: Path):
    """It is saved when the slot is taken."""
    states = cache(tmp_path, memory=25)
    conversation(states, 1000)
    states.used(states.find("", range(1000, 1101), 100))
    for first in (2000, 3000):
        conversation(states, first)
    states.close(10)
    assert states.stats().evictions == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def work(monkeypatch):
    """Count the blocks that are hashed and the prompts that are compared token by token."""
    counts = Counter()

    def counted(name):
        function = getattr(entry, name)

        def call(*args, **named):
            counts[name] += 1
            return function(*args, **named)

        monkeypatch.setattr(entry, name, call)

    counted("blake2b")
    counted("common_prefix")
    return counts


def test_a_thousand_states_are_looked_through_without_reading_their_tokens(work):
    """Under one system prompt, each with a checkpoint behind it; the last one makes room.

    To hash the tokens of each entry anew took 0.3 s instead of 0.01.
    """
    system = list(range(300))
    kept = Snapshot(state=b"s" * 8, checkpoints=(Checkpoint(tokens=300, state=b"cc"),))
    found = {}
    for count in (10, 1000):
        states = cache(memory=10 * count - 10)
        for number in range(count):
            states.put("", [*system, *[number] * 100], kept, least=400)
        assert states.stats().memory_entries == count - 1
        assert states.stats().evictions == 1
        work.clear()
        states.put("", [*system, *[5000] * 100], kept, least=400)
        assert states.find("", [*system[:270], *[6000] * 300], 500) is None
        assert states.stats().evictions == 2
        found[count] = work.copy()
    assert found[1000]["blake2b"] == found[10]["blake2b"]
    assert found[1000]["common_prefix"] <= 2 * 256  # `index._LOOKED_AT`
