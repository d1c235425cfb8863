"""The file of API keys: read anew when it changes, and never worse for it."""

import logging
import os
from pathlib import Path

import pytest

from pilotlight.access import key_file
from pilotlight.access.key_file import KeyFile
from pilotlight.access.keys import InvalidKeys, read_entries
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("ann:s3cret-one\n")
    return path


@pytest.fixture
def file(path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> KeyFile:
    caplog.set_level(logging.INFO)
    return KeyFile(path, (), clock=clock)


def names(file: KeyFile) -> list[str]:
    return [key.name for key in file.current()]


def replace(path: Path, text: str) -> None:
    """Put a file with *text* into the place of *path*, whole, as editors and rsync do."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def test_what_is_replaced_holds_a_second_later(file, path, clock):
    """The file is looked at once a second, and not before."""
    replace(path, "bob:s3cret-two\nci:s3cret-three\n")
    clock.now += 0.9
    assert names(file) == ["ann"]
    clock.now += 0.1
    assert names(file) == ["bob", "ci"]


def test_what_is_written_in_place_holds_too(file, path, clock):
    """The same file, of the same size, with another content and time."""
    path.write_text("bob:s3cret-one\n")
    os.utime(path, ns=(1, 1))
    clock.now += 1
    assert names(file) == ["bob"]


def test_a_secret_of_kubernetes_is_followed(tmp_path, clock):
    """A link to a link in a folder that is a link itself, which is renamed over the old one."""
    for number, text in enumerate(("ann:s3cret-one", "bob:s3cret-two")):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}/keys").write_text(text)
    data, path = tmp_path / "..data", tmp_path / "keys"
    data.symlink_to("..0")
    path.symlink_to("..data/keys")
    file = KeyFile(path, (), clock=clock)
    assert names(file) == ["ann"]

    fresh = tmp_path / "..data_tmp"
    fresh.symlink_to("..1")
    fresh.rename(data)
    clock.now += 1
    assert names(file) == ["bob"]


def test_a_file_that_did_not_change_is_not_read(file, clock, monkeypatch):
    """Looking at it is enough."""
    monkeypatch.setattr(key_file, "read_file", lambda *_: pytest.fail("it was read"))
    clock.now += 1
    assert names(file) == ["ann"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"bob:s3cret-two\ns3cret-three\n", "line 2: expected name:key or name:sha256:HEX"),
        (b"", "it contains no key"),
        (b"bob:s3cret-two\xff", "is not UTF-8 text"),
        (b"#" * 1_000_001, "is larger than 1,000,000 bytes"),
    ],
)
def test_a_broken_file_changes_nothing(path, clock, caplog, text, reason):
    """The old keys stay, one warning says why, and what is mended holds."""
    caplog.set_level(logging.INFO)
    file = KeyFile(path, (), clock=clock)
    path.write_bytes(text)
    for _ in range(3):
        clock.now += 1
        assert names(file) == ["ann"]

    (warned,) = caplog.records
    assert warned.levelname == "WARNING"
    assert warned.message == f"{path}: {reason}; earlier keys stay valid"
    replace(path, "bob:s3cret-two")
    clock.now += 1
    assert names(file) == ["bob"]
    assert caplog.records[-1].message == f"{path}: reloaded; API keys: 1"
    assert "s3cret" not in caplog.text


def test_a_vanished_file_changes_nothing(file, path, clock, caplog):
    """Nor does one that came back as it was; each time that it goes is told."""
    away = path.with_suffix(".away")
    for _ in range(2):
        path.rename(away)
        for _ in range(2):
            clock.now += 1
            assert names(file) == ["ann"]
        away.rename(path)
        clock.now += 1
        assert names(file) == ["ann"]
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        f"{path}: cannot be read: No such file or directory; earlier keys stay valid"
    ] * 2


def test_keys_from_elsewhere_are_not_repeated(path, clock, caplog):
    """Neither at the start nor later."""
    beside = read_entries("bob:s3cret-two")
    file = KeyFile(path, beside, clock=clock)
    replace(path, "ann:s3cret-two")
    clock.now += 1
    assert names(file) == ["ann"]
    assert "line 1: its key is already used in api_keys" in caplog.text
    with pytest.raises(InvalidKeys, match="its key is already used in api_keys"):
        KeyFile(path, beside, clock=clock)


def test_bytes_before_the_text_are_passed_over(path, clock):
    """Some editors mark a file as UTF-8 so."""
    path.write_bytes(b"\xef\xbb\xbfann:s3cret-one")
    assert names(KeyFile(path, (), clock=clock)) == ["ann"]


def test_what_is_no_file_is_refused(tmp_path, clock):
    """Nothing waits for the writer of a pipe."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in (
        (pipe, "is not a regular file"),
        (Path(os.devnull), "is not a regular file"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "absent", "cannot be read: No such file or directory"),
    ):
        with pytest.raises(InvalidKeys, match=reason):
            KeyFile(path, (), clock=clock)


def test_no_descriptor_is_left_open(tmp_path, clock):
    """Refused or read, the file is closed."""

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("ann:one")
    bad.write_text("ann")
    before = descriptors()
    KeyFile(good, (), clock=clock)
    for path in (bad, tmp_path, Path(os.devnull)):
        with pytest.raises(InvalidKeys):
            KeyFile(path, (), clock=clock)
    assert descriptors() == before
