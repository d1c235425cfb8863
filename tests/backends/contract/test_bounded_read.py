"""Only files are read, and no more of them than a limit."""

import os

import pytest

from pilotlight_backend.bounded_read import is_regular, read_bounded
from pilotlight_backend.testing.conformance.listener import within


def test_file_is_read(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    assert is_regular(path)


def test_link_to_a_file_is_read(tmp_path):
    """As caches have them: a name that leads to where the bytes are."""
    (tmp_path / "blob").write_bytes(b"12345")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "blob")
    assert read_bounded(link) == b"12345"


def test_file_beyond_the_limit_is_refused(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"123456")
    with pytest.raises(OSError, match="larger than 5 bytes"):
        read_bounded(path, 5)


def test_what_has_no_end_is_refused(tmp_path):
    """A device is not read, however it is called here."""
    link = tmp_path / "genai_config.json"
    link.symlink_to("/dev/zero")
    with pytest.raises(OSError, match="not a regular file"):
        read_bounded(link)


def test_pipe_is_not_waited_for(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(OSError, match="not a regular file"):
        within(lambda: read_bounded(path), 10)
    assert not is_regular(path)


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda _: None], ids=["folder", "no"])
def test_no_file(tmp_path, make):
    make(tmp_path / "a")
    with pytest.raises(OSError, match=r"directory|regular"):
        read_bounded(tmp_path / "a")
