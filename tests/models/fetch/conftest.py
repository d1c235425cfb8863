"""What the tests of fetching share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.fetch.server import FileServer, file_server


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as server:
        yield server


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"
