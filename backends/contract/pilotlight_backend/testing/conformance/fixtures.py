"""Fixtures of the suite: a backend, a model, an engine."""
# ruff: noqa: S101 - the suite asserts

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from pilotlight_backend import PROJECT
from pilotlight_backend.protocols import Backend, Engine
from pilotlight_backend.testing.conformance.listener import within
from pilotlight_backend.types import LoadOptions, ModelFacts


def load(backend: Backend, model: ModelFacts, options: LoadOptions) -> Engine:
    """Load a model that generates."""
    engine = within(lambda: backend.load(model, options, lambda _: None))
    assert isinstance(engine, Engine)
    return engine


class ConformanceFixtures:
    """The fixtures, all of them for a class at a time; any may be overridden."""

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> Backend:
        """Return the backend under test; a subclass must override it."""
        raise NotImplementedError(f"{cls.__name__} has no fixture `backend`")

    @pytest.fixture(scope="class")
    @classmethod
    def model_path(cls) -> Path:
        """Return the path of a small model; a subclass must override it."""
        raise NotImplementedError(f"{cls.__name__} has no fixture `model_path`")

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls) -> LoadOptions:
        """Return how to load it; at least two slots, and a context of at least 256 tokens.

        Responses are compared with those of requests that ran alone: it must be deterministic.
        """
        return LoadOptions(parallel=4, context_length=256, deterministic=True)

    @pytest.fixture(scope="class")
    @classmethod
    def prompt_text(cls) -> str:
        """Return a prompt of at least four tokens and at most 64."""
        return "What is 2+2?"

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls, backend: Backend) -> str:
        """Return the plugin's module; skips where no entry point has the backend's name."""
        found = entry_points(group=PROJECT, name=backend.name)
        if not found:
            pytest.skip(f"no entry point is named {backend.name}; override the fixture `plugin`")
        return next(iter(found)).module

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, backend: Backend, model_path: Path) -> ModelFacts:
        """Return what the model's probe says."""
        facts = backend.probe(model_path)
        assert facts is not None, f"the backend does not know its own model {model_path}"
        return facts

    @pytest.fixture(scope="class")
    @classmethod
    def engine(cls, backend: Backend, model: ModelFacts, options: LoadOptions) -> Iterator[Engine]:
        """Load the model once for the class, and close it."""
        engine = load(backend, model, options)
        yield engine
        within(engine.close)

    @pytest.fixture(scope="class")
    @classmethod
    def prompt(cls, engine: Engine, prompt_text: str) -> list[int]:
        """Return the prompt's tokens."""
        return engine.tokenize(prompt_text, special=False)

    @pytest.fixture
    def own_engine(
        self, backend: Backend, model: ModelFacts, options: LoadOptions
    ) -> Iterator[Engine]:
        """Load an engine for one test, which may leave it in any state."""
        engine = load(backend, model, options)
        yield engine
        within(engine.close)
