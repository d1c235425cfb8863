"""What the tests of models share: a clock that is set, the fake backend, what is built on it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pilotlight.models.catalog import ModelEntry, ModelOptions
from pilotlight.models.loading.history import LoadHistory
from pilotlight.models.models_file import read_models_file
from pilotlight.models.pool import Pool
from pilotlight.models.registry import Registry
from pilotlight_backend import LoadOptions
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine have no plugin installed."""
    monkeypatch.setattr("pilotlight.models.registry.installed", lambda _: ())


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    backend = FakeBackend()
    yield backend
    backend.load_gate.release()
    backend.token_gate.release()
    for engine in list(backend.engines):
        engine.close()


@pytest.fixture
def registry(backend: FakeBackend, no_plugins: None) -> Registry:  # noqa: ARG001
    return Registry({"fake": backend})


@pytest.fixture
def write(tmp_path: Path):
    """Return a function that writes a model file and returns its entry."""

    def write(name: str, **keys: object) -> ModelEntry:
        path = FakeModel(**keys).write(tmp_path / f"{name}.fake")
        return ModelEntry(name, path, "configured", ModelOptions(path=str(path)))

    return write


@pytest.fixture
async def make_pool(backend: FakeBackend, registry: Registry, clock: Clock) -> AsyncIterator:
    """Return a function that makes a pool of the fake's; all are closed in the end."""
    pools: list[Pool] = []

    def make_pool(**options: object) -> Pool:
        given = {
            "registry": registry,
            "load_options": lambda _: LoadOptions(parallel=2),
            "memory_budget": None,
            "idle_ttl": 0.0,
            "clock": clock,
            "jitter": lambda: 0.0,
            "history": LoadHistory(None),
            "max_held": 256,
        }
        pools.append(Pool(**(given | options)))
        return pools[-1]

    yield make_pool
    backend.load_gate.release()
    for pool in pools:
        await pool.close()


@pytest.fixture
def pool(make_pool) -> Pool:
    return make_pool()


@pytest.fixture
def read(tmp_path: Path):
    """Return a function that reads a models.yaml of the given text."""

    def read(text: str):
        path = tmp_path / "models.yaml"
        path.write_text(text)
        return read_models_file(path)

    return read
