"""What the tests of isolated engines share."""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pilotlight_backend import LoadOptions
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
from pilotlight_isolation.backend import IsolatedBackend

PLUGIN = "pilotlight_backend.testing.plugin"


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.slow)  # each engine is a process


@pytest.fixture
def backend() -> IsolatedBackend:
    return IsolatedBackend(FakeBackend(), PLUGIN)


@pytest.fixture
def load(backend: IsolatedBackend, tmp_path: Path) -> Iterator[Callable]:
    """Return a function that loads a fake model in a process; all are closed in the end."""
    engines = []

    def load(*, parallel: int = 4, **keys):
        path = FakeModel(**keys).write(tmp_path / f"{len(engines)}.fake")
        options = LoadOptions(parallel=parallel)
        engines.append(backend.load(backend.probe(path), options, lambda _: None))
        return engines[-1]

    yield load
    for engine in engines:
        engine.close()


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], IsolatedBackend]:
    """Return a function that makes a backend whose plugin is the fake's, changed by a source."""
    monkeypatch.syspath_prepend(tmp_path)

    def plugin(source: str) -> IsolatedBackend:
        name = f"changed_plugin_{len(list(tmp_path.glob('changed_*')))}"
        (tmp_path / f"{name}.py").write_text(CHANGED + source)
        return IsolatedBackend(FakeBackend(), name)

    return plugin


CHANGED = """
import ctypes, os, sys
from pilotlight_backend import hookimpl
from pilotlight_backend.testing.fake import FakeBackend

class Changed(FakeBackend):
    pass

@hookimpl
def pilotlight_register_backend():
    return Changed()
"""


def left() -> tuple[int, int]:
    """Return how many threads and open files this process has."""
    assert sys.platform == "linux"
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
