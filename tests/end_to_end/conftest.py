"""What holds for all of these tests: they start servers, and wait until they end."""

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.slow)
