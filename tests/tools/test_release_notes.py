"""The notes of a release are the changelog's section of its version."""

import pytest

from tools.release_notes import CHANGELOG, section

TEXT = """# Changelog

## [Unreleased]

- next

## [0.2.0] - 2026-12-01

### Added

- a thing

## [0.1.0]

"""


def test_a_section_ends_at_the_next():
    assert section(TEXT, "0.2.0") == "### Added\n\n- a thing\n"


@pytest.mark.parametrize("version", ["0.1.0", "0.3.0", "0.2", ""])
def test_no_section_or_an_empty_one_is_an_error(version: str):
    with pytest.raises(ValueError, match="no section"):
        section(TEXT, version)


def test_the_projects_own_changelog_is_read():
    assert section(CHANGELOG.read_text(), "Unreleased").startswith("### ")
