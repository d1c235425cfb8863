"""Storages that fail, processes that are killed, buckets."""

import errno
import logging
import os
import threading
import time

import pytest

from benchmarks import killed_writers
from pilotlight_backend.prompt_cache import PromptCache, Snapshot
from pilotlight_backend.prompt_cache.deletion import Deleted, delete_states
from pilotlight_backend.prompt_cache.fsspec_bucket import FsspecBucket
from pilotlight_backend.prompt_cache.guarded import GuardedStorage
from pilotlight_backend.prompt_cache.storage import Folder, prune
from tests.backends.contract.prompt_cache.test_cache import fetched


def cache(storage, clock=time.monotonic):
    """Return a cache with *storage* and no memory."""
    files = GuardedStorage(lambda: storage, prefix="abc-", limit=None, ttl=None, clock=clock)
    return PromptCache(identity="abc", memory_limit=0, files=files, clock=clock)


def stored(cache, first=0, size=500):
    """Write a state of 100 tokens from *first* on, and wait until that is done."""
    state = Snapshot(state=bytes([first % 256]) * size)
    tokens = range(first, first + 100)
    if cache.wants("", tokens, least=1, size=size, store=True):
        cache.put("", tokens, state, least=1, store=True)
    assert cache.wait(10)


def catch_up(states):
    """Wait until the reader of *states* has done what it was given: the first listing too."""
    done = threading.Event()
    states._tier.reader.submit(done.set)
    assert done.wait(10)


class Failing(Folder):
    """A folder whose calls named in *broken* fail."""

    def __init__(self, path, error=errno.ENOSPC):
        super().__init__(path)
        self.broken = set()
        self.calls = 0
        self._error = error

    def _try(self, name):
        self.calls += 1
        if name in self.broken:
            raise OSError(self._error, os.strerror(self._error))

    def files(self):
        self._try("files")
        return super().files()

    def read(self, name):
        self._try("read")
        return super().read(name)

    def write(self, name, pieces):
        self._try("write")
        super().write(name, pieces)


@pytest.mark.parametrize("what", ["files", "read", "write"])
def test_a_storage_that_fails_is_left_alone_for_a_while_and_said_once(tmp_path, caplog, what):
    now = 0.0
    storage = Failing(tmp_path)
    caplog.set_level(logging.INFO, "pilotlight.backend")
    if what != "write":
        first = cache(storage)
        stored(first)
        assert fetched(first, "", range(150))  # its first listing is over
        first.close(10)
    storage.broken.add(what)
    states = cache(storage, clock=lambda: now)
    catch_up(states)  # a request need not wait for the listing that fails
    for number in range(3):
        assert fetched(states, "", range(150)) is None
        if what == "write":
            stored(states, 1000 * (1 + number))
    (told,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert "No space left on device" in told.getMessage()
    assert states.stats().storage_errors == 1
    calls = storage.calls
    assert fetched(states, "", range(150)) is None
    if what == "write":
        stored(states, 7000)
    assert storage.calls == calls
    storage.broken.clear()
    now = 31.0
    if what == "write":
        stored(states)
    assert fetched(states, "", range(150)).tokens == 100
    assert "again" in caplog.text
    states.close(10)


def test_an_error_is_counted_before_the_storage_is_left_alone(tmp_path):
    """Another thread that finds the storage left alone reports the error as well."""
    counts = []

    def clock():
        counts.append(files.errors)
        return 0.0

    storage = Failing(tmp_path)
    storage.broken.add("files")
    files = GuardedStorage(lambda: storage, prefix="abc-", limit=None, ttl=None, clock=clock)
    assert files.files() is None
    assert counts == [1]


def test_state_that_memory_has_no_room_for_is_a_miss_and_no_fault_of_the_storage(tmp_path, caplog):
    class Full(Folder):
        def read(self, *_):
            raise MemoryError

        def write(self, *_):
            raise MemoryError

    first = cache(Folder(tmp_path))
    stored(first)
    first.close(10)
    states = cache(Full(tmp_path))
    assert fetched(states, "", range(150)) is None
    stored(states, 1000)
    assert [one.getMessage().rpartition(" ")[0] for one in caplog.records] == [
        "there is no memory to read the cached state",
        "there is no memory to write the cached state",
    ]
    assert states.stats().storage_errors == 0
    states.close(10)


def test_a_folder_that_vanishes_is_made_again(tmp_path):
    folder = tmp_path / "states"
    states = cache(Folder(folder))
    stored(states)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert fetched(states, "", range(150)) is None
    stored(states, 1000)
    assert len(list(folder.iterdir())) == 1
    assert folder.stat().st_mode & 0o777 == 0o700
    states.close(10)


def test_a_folder_that_is_read_only_is_read(tmp_path):
    states = cache(Folder(tmp_path))
    stored(states)
    states.close(10)
    storage = Failing(tmp_path, errno.EROFS)
    storage.broken.add("write")
    again = cache(storage)
    stored(again, 1000)
    assert again.stats().storage_errors == 1
    assert fetched(again, "", range(150)).tokens == 100
    again.close(10)


def test_what_a_killed_writer_left_goes(tmp_path):
    left = tmp_path / ".abc-1.state.77.1.part"
    left.write_bytes(b"half")
    fresh = tmp_path / ".abc-1.state.78.1.part"
    fresh.write_bytes(b"half")
    foreign = tmp_path / "notes.txt"
    foreign.write_text("mine")
    old = time.time() - 4000
    for one in (left, foreign):
        os.utime(one, (old, old))
    prune(Folder(tmp_path), limit=0, ttl=1.0, now=time.time())
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([fresh.name, foreign.name])


def test_what_is_being_written_counts_towards_the_limit(tmp_path):
    """Killed writers may have left it: until that is certain it takes room all the same."""
    storage = Folder(tmp_path)
    states = cache(storage)
    stored(states)
    states.close(10)
    (file,) = storage.files()
    (tmp_path / ".abc-1.state.78.1.part").write_bytes(bytes(1000))
    assert prune(storage, limit=file.size + 1000, ttl=None, now=time.time()) == []
    assert prune(storage, limit=file.size + 999, ttl=None, now=time.time()) == [file.name]


@pytest.mark.parametrize(("age", "is_left"), [(300, True), (700, False)])
def test_a_writer_counts_as_killed_when_it_has_not_written_for_long(tmp_path, age, is_left):
    part = tmp_path / ".abc-1.state.78.1.part"
    part.write_bytes(b"half")
    os.utime(part, (time.time() - age,) * 2)
    assert Folder(tmp_path).sweep() == (4 if is_left else 0)
    assert part.exists() is is_left


def test_files_go_when_they_were_not_used_for_long(tmp_path):
    storage = Folder(tmp_path)
    states = cache(storage)
    stored(states)
    states.close(10)
    (file,) = storage.files()
    assert prune(storage, limit=None, ttl=60.0, now=file.used + 59) == []
    assert prune(storage, limit=None, ttl=60.0, now=file.used + 61) == [file.name]


@pytest.mark.slow
def test_processes_that_are_killed_leave_no_damaged_file(tmp_path):
    """Two write to one folder; each is killed at any moment, again and again."""
    report = killed_writers.kill(tmp_path, kills=6, seed=1)
    assert report.used > 0
    assert report.files > 0
    assert (report.damaged, report.left) == (0, 0)


def test_a_bucket_keeps_what_a_folder_keeps():
    pytest.importorskip("fsspec")
    one = cache(FsspecBucket("memory://bucket/states"))
    stored(one)
    stored(one, 1000)
    one.close(10)
    two = cache(FsspecBucket("memory://bucket/states"))
    found = fetched(two, "", range(1000, 1150))
    assert (found.tokens, found.snapshot.state) == (100, bytes([1000 % 256]) * 500)
    two.clear()
    two.close(10)
    assert FsspecBucket("memory://bucket/states").files() == []


def test_a_bucket_that_is_not_there_has_no_files():
    pytest.importorskip("fsspec")
    assert FsspecBucket("memory://nothing/here").files() == []


def test_what_a_buckets_library_raises_is_an_os_error(monkeypatch):
    pytest.importorskip("fsspec")
    bucket = FsspecBucket("memory://bucket/other")

    def refuse(*_args, **_options):
        raise RuntimeError("503 Slow Down")

    monkeypatch.setattr(bucket._system, "ls", refuse)
    with pytest.raises(OSError, match="503 Slow Down"):
        bucket.files()


def test_an_owner_s_files_are_deleted_for_every_model_and_salt(tmp_path):
    kept = {}
    for identity in ("abc", "def"):
        states = PromptCache(
            identity=identity,
            memory_limit=0,
            files=GuardedStorage(
                lambda: Folder(tmp_path), prefix=f"{identity}-", limit=None, ttl=None
            ),
        )
        for number, scope in enumerate(("ann", "ann\0salt", "anna", "", "bob\0ann")):
            before = {file.name for file in tmp_path.iterdir()}
            state = Snapshot(state=b"s" * 10)
            states.put(scope, range(number, 100 + number), state, least=1, store=True)
            assert states.wait(10)
            (kept[identity, scope],) = {file.name for file in tmp_path.iterdir()} - before
        states.close(10)
    (tmp_path / "notes.txt").write_text("no state")
    owned = {name for (_, scope), name in kept.items() if scope in ("ann", "ann\0salt")}
    size = sum((tmp_path / name).stat().st_size for name in owned)
    assert delete_states(str(tmp_path), "ann") == Deleted(files=4, size=size)
    left = set(kept.values()) - owned
    assert {file.name for file in tmp_path.iterdir()} == left | {"notes.txt"}
    assert delete_states(str(tmp_path)).files == 6
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_deleting_everything_takes_what_killed_writers_left(tmp_path):
    parts = [tmp_path / f".abc-0-{number}.state.1.{number}.part" for number in range(2)]
    for part in parts:
        part.write_bytes(b"a prompt")
    os.utime(parts[0], (time.time() - 120,) * 2)
    delete_states(str(tmp_path))
    assert list(tmp_path.iterdir()) == parts[1:]


def test_deleting_from_a_folder_that_is_not_there_finds_nothing(tmp_path):
    assert delete_states(str(tmp_path / "none")).files == 0


def test_a_conversation_whose_file_was_damaged_is_stored_again(tmp_path):
    one = cache(Folder(tmp_path))
    stored(one)
    one.close(10)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    now = 0.0
    two = cache(Folder(tmp_path), clock=lambda: now)
    assert fetched(two, "", range(150)) is None
    stored(two)
    now = 100.0  # listed again
    assert fetched(two, "", range(150)).tokens == 100
    two.close(10)
    assert file.read_bytes() == whole


def test_a_file_that_another_instance_is_writing_under_its_name_is_found_when_it_is_whole(tmp_path):
    one = cache(Folder(tmp_path))
    stored(one)
    one.close(10)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    now = 0.0
    two = cache(Folder(tmp_path), clock=lambda: now)
    for size in (0, 5, 20, 100, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert fetched(two, "", range(150)) is None
        now += 100.0
    file.write_bytes(whole)
    assert fetched(two, "", range(150)).tokens == 100
    two.close(10)


def test_a_header_that_changes_after_the_listing_is_a_miss(tmp_path):
    states = cache(Folder(tmp_path))
    stored(states)
    (file,) = tmp_path.iterdir()
    whole = bytearray(file.read_bytes())
    for at in (30, 40, 60):
        whole[at] ^= 0xFF
    file.write_bytes(whole)
    assert fetched(states, "", range(150)) is None
    assert list(tmp_path.iterdir()) == []
    states.close(10)


def test_a_file_of_another_user_does_not_hide_the_others(tmp_path, monkeypatch):
    one = cache(Folder(tmp_path))
    stored(one)
    stored(one, 1000)
    one.close(10)
    foreign = min(tmp_path.iterdir())
    opened = type(foreign).open

    def refuse(path, *args, **options):
        if path == foreign:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *args, **options)

    monkeypatch.setattr(type(foreign), "open", refuse)
    two = cache(Folder(tmp_path))
    found = [fetched(two, "", range(first, first + 150)) for first in (0, 1000)]
    assert sorted(one is None for one in found) == [False, True]
    assert two.stats().storage_errors == 0
    two.close(10)


def test_files_that_cannot_be_deleted_are_read(tmp_path):
    class Undeletable(Folder):
        def delete(self, name):
            raise PermissionError(errno.EACCES, name)

    storage = Undeletable(tmp_path)
    files = GuardedStorage(lambda: storage, prefix="abc-", limit=2500, ttl=None)
    states = PromptCache(identity="abc", memory_limit=0, files=files)
    for first in (0, 1000, 2000):
        states.busy()
        stored(states, first)
    assert files.is_readable
    assert not files.is_writable
    assert fetched(states, "", range(150)).tokens == 100
    states.close(10)


def test_a_storage_that_hangs_delays_one_request(tmp_path, monkeypatch):
    monkeypatch.setattr("pilotlight_backend.prompt_cache.reading._LEAST_PATIENCE", 0.1)
    one = cache(Folder(tmp_path))
    stored(one)
    one.close(10)
    goes_on = threading.Event()

    class Hanging(Folder):
        def read(self, name):
            assert goes_on.wait(60)
            return super().read(name)

    states = cache(Hanging(tmp_path))
    done = threading.Event()
    asked = {"have": 0, "seconds_per_token": 0.0, "done": lambda _: done.set()}
    assert states.fetch("", range(150), 149, **asked)
    assert done.wait(10)
    done.clear()
    assert not states.fetch("", range(150), 149, **asked)
    goes_on.set()
    while not states.fetch("", range(150), 149, **asked):
        time.sleep(0.01)
    assert done.wait(10)
    states.close(10)


def test_a_fault_of_ours_ends_neither_a_wait_nor_the_writing(tmp_path, monkeypatch, caplog):
    states = cache(Folder(tmp_path))
    stored(states)

    def fail(*_):
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(GuardedStorage, "read", fail)
        broken.setattr(GuardedStorage, "write", fail)
        assert fetched(states, "", range(150)) is None
        stored(states, 1000)
    assert not states.is_writing
    assert fetched(states, "", range(150)).tokens == 100
    states.close(10)
    assert "a task failed" in caplog.text
