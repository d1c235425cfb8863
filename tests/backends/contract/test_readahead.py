"""Reading ahead of the load."""

import errno
import os
import threading

import pytest

from pilotlight_backend.readahead import read_ahead


def test_progress_counts_every_byte(tmp_path):
    """Over several files, block by block, to the last byte."""
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "empty"]
    for path, size in zip(paths, (20 << 20, 3, 0), strict=True):
        path.write_bytes(bytes(size))
    heard = []
    read_ahead(paths, heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == (20 << 20) + 3
    assert len(heard) == 4


def test_progress_that_raises_ends_the_reading(tmp_path):
    """The readers are gone when it passes through."""
    path = tmp_path / "a"
    path.write_bytes(bytes(64 << 20))
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        read_ahead([path], lambda _count: (_ for _ in ()).throw(KeyboardInterrupt))
    assert threading.active_count() == threads


@pytest.fixture
def read(monkeypatch):
    """Note the offsets that are read."""
    offsets = []
    pread = os.pread

    def counted(file, count, offset):
        offsets.append(offset)
        return pread(file, count, offset)

    monkeypatch.setattr(os, "pread", counted)
    return offsets


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="Linux alone tells")
def test_what_is_in_the_page_cache_is_not_read(tmp_path, read):
    """It was just written, so it is there; all of it is counted."""
    path = tmp_path / "a"
    path.write_bytes(bytes((20 << 20) + 5))
    heard = []
    read_ahead([path], heard.append)
    assert read == []
    assert heard == [8 << 20, 16 << 20, (20 << 20) + 5]


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EOPNOTSUPP])
def test_a_block_of_which_a_part_is_not_cached_is_read(tmp_path, read, monkeypatch, code):
    """Or of which the file system does not tell."""
    path = tmp_path / "a"
    path.write_bytes(bytes(20 << 20))
    preadv = os.preadv

    def partly(file, buffers, offset, flags=0):
        if offset == (15 << 20):
            raise OSError(code, os.strerror(code))
        return preadv(file, buffers, offset, flags)

    monkeypatch.setattr(os, "preadv", partly)
    heard = []
    read_ahead([path], heard.append)
    assert sorted(read) == [n << 20 for n in range(8, 16)]
    assert heard[-1] == 20 << 20
