"""Amounts of memory in messages."""

import pytest

from pilotlight_backend.cgroup import memory_size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999_999, "999999 bytes"),
        (1_000_000, "1.0 MB"),
        (641_000_000, "641.0 MB"),
        (22_936_543_232, "22.94 GB"),
        (197_126_414_176, "197.13 GB"),
    ],
)
def test_an_amount_is_readable(count, text):
    """Small ones are exact, for messages about test models and mistaken budgets."""
    assert memory_size(count) == text
