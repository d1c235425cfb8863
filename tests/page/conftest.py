"""A browser, and servers with made-up models for it to visit."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.clients.servers import FakeServer, serving
from tests.page.browser import Browser, unavailable


@pytest.fixture(scope="session")
def _browser() -> Iterator[Browser]:
    reason = unavailable()
    if reason is not None:
        pytest.skip(reason)
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browser(_browser: Browser) -> Iterator[Browser]:
    """Return the browser; at the end it must have met no error and have called nobody else."""
    yield _browser
    assert _browser.problems() == []


@pytest.fixture
def serve_models(tmp_path: Path) -> Iterator[Callable[..., FakeServer]]:
    """Return a function that serves models, by name, until the test ends."""
    with ExitStack() as stack:

        def serve(settings: dict[str, Any] | None = None, **models: Any) -> FakeServer:
            return stack.enter_context(serving(tmp_path, models, **(settings or {})))

        yield serve
