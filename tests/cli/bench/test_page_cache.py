"""Files are dropped from the page cache where the system can, and it is reported where not."""

from pathlib import Path

import pytest

from pilotlight.cli.bench import cold_start


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file, on a system where the whole page cache cannot be dropped."""
    monkeypatch.setattr(cold_start, "_DROP_CACHES", tmp_path / "missing/drop_caches")
    path = tmp_path / "model"
    path.write_bytes(b"x" * 10_000)
    return path


def test_without_the_right_to_drop_all_the_files_are_dropped(file: Path):
    assert cold_start.drop_page_cache([file]) == "the model's files"


def test_a_system_without_advice_drops_nothing(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(cold_start.os, "posix_fadvise")
    assert cold_start.drop_page_cache([file]).startswith("nothing")
