"""Reading ahead of the load."""

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
