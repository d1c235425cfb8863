"""The version: stated in several files, decided in one."""

from pathlib import Path

import pytest

from pilotlight import __version__
from tools import version

PYPROJECT = """
[project]
version = "1.2.3"
dependencies = ["pluggy>=1.6", "pilotlight-backend==1.2.3"]
"""


def test_every_file_states_the_same():
    told = {path: version.stated(path.read_text()) for path in version.files()}
    assert all(told.values()), told
    assert {one for found in told.values() for one in found} == {__version__}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PYPROJECT, PYPROJECT.replace("1.2.3", "1.3.0rc1")),
        ('__version__ = "1.2.3"\n', '__version__ = "1.3.0rc1"\n'),
        ('LABEL org.image.version="1.2.3" \\', 'LABEL org.image.version="1.3.0rc1" \\'),
        ('requires-python = ">=3.11"\n', 'requires-python = ">=3.11"\n'),
        ('"pluggy==1.2.3"', '"pluggy==1.2.3"'),
    ],
)
def test_only_the_projects_own_version_is_replaced(text: str, expected: str):
    assert version.replaced(text, "1.3.0rc1") == expected


def test_a_release_that_was_set_can_be_set_again():
    once = version.replaced(PYPROJECT, "2.0.0rc1")
    assert version.replaced(once, "2.0.0") == PYPROJECT.replace("1.2.3", "2.0.0")


def test_the_current_version_is_the_roots(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    assert version.current(tmp_path) == "1.2.3"
