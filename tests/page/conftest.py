"""A browser, and servers with made-up models for it to visit."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.clients.servers import FakeServer, serving
from tests.page.browser import Browser, unavailable


@pytest.fixture(scope="session")
def _browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    reason = unavailable()
    if reason is not None:
        pytest.skip(reason)
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def browser(_browser: Browser, serve_models: object) -> Iterator[Browser]:
    """Return the browser; at the end it must have met no error and have called no other server.

    It leaves the page before its server ends, or the page would report that.
    """
    del serve_models
    yield _browser
    problems = _browser.problems()
    _browser.leave()
    assert problems == []


@pytest.fixture
def serve_models(tmp_path: Path) -> Iterator[Callable[..., FakeServer]]:
    """Return a function that serves models, by name, until the test ends."""
    with ExitStack() as stack:

        def serve(settings: dict[str, Any] | None = None, **models: Any) -> FakeServer:
            only = {"backends": ("fake",)} | (settings or {})
            return stack.enter_context(serving(tmp_path, models, **only))

        yield serve
