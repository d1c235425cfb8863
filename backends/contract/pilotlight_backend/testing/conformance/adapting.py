"""Adapters: refused by engines without them, and applied to their own requests alone."""
# ruff: noqa: S101 - the suite asserts

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from pilotlight_backend.adapters import Adapter
from pilotlight_backend.errors import InvalidParameter, ModelFileInvalid
from pilotlight_backend.protocols import AdaptingBackend, AdaptingEngine, Backend, Engine
from pilotlight_backend.testing.conformance.fixtures import ConformanceFixtures, load
from pilotlight_backend.testing.conformance.listener import request_of, run, within
from pilotlight_backend.types import LoadOptions, ModelFacts

LENGTH = 8


class AdaptConformance(ConformanceFixtures):
    """`GenerateRequest.adapters` for every engine, and `AdaptingEngine` where there are such."""

    @pytest.fixture(scope="class")
    @classmethod
    def adapter_path(cls) -> Path:
        """Return an adapter for the model that changes what it answers; skips without one."""
        pytest.skip("the backend has no adapters; override the fixture `adapter_path`")

    @pytest.fixture
    def adapting(
        self, backend: Backend, model: ModelFacts, options: LoadOptions
    ) -> Iterator[AdaptingEngine]:
        """Load an engine that has adapters."""
        engine = load(backend, model, options)
        assert isinstance(engine, AdaptingEngine)
        yield engine
        within(engine.close)

    def test_adapter_that_is_not_loaded_is_refused(self, engine: Engine, prompt: list[int]) -> None:
        """By its type: the request is never queued."""
        request = replace(request_of(prompt, LENGTH), adapters=(Adapter("none"),))
        with pytest.raises(InvalidParameter) as refused:
            engine.submit(request, lambda _: None)
        assert refused.value.param == "adapters"

    def test_adapter_changes_its_own_requests(
        self, adapting: AdaptingEngine, adapter_path: Path, prompt: list[int]
    ) -> None:
        """The base's request answers as before, with nothing cached by the adapter's."""
        plain = request_of(prompt, LENGTH)
        before = run(adapting, plain)
        adapter = within(lambda: adapting.load_adapter(adapter_path))
        adapted = replace(plain, adapters=(Adapter(adapter),))
        changed = run(adapting, adapted)
        assert changed.tokens != before.tokens
        assert run(adapting, plain).tokens == before.tokens
        assert run(adapting, adapted).tokens == changed.tokens
        assert run(adapting, replace(plain, adapters=(Adapter(adapter, 0.0),))).tokens == (
            before.tokens
        )

    def test_unloaded_adapter_is_refused(
        self, adapting: AdaptingEngine, adapter_path: Path, prompt: list[int]
    ) -> None:
        """Once it was unloaded as often as it was loaded."""
        first, second = (within(lambda: adapting.load_adapter(adapter_path)) for _ in range(2))
        assert first == second
        request = replace(request_of(prompt, LENGTH), adapters=(Adapter(first),))
        within(lambda: adapting.unload_adapter(first))
        run(adapting, request)
        within(lambda: adapting.unload_adapter(first))
        with pytest.raises(InvalidParameter):
            adapting.submit(request, lambda _: None)
        within(lambda: adapting.unload_adapter(first))  # a no-op

    def test_file_of_another_kind_is_refused(
        self, backend: Backend, model: ModelFacts, adapting: AdaptingEngine, adapter_path: Path
    ) -> None:
        """By the probe and by the load, with an error that names it."""
        assert isinstance(backend, AdaptingBackend)
        assert backend.probe_adapter(adapter_path, model).size_bytes > 0
        with pytest.raises(ModelFileInvalid, match=model.path.name):
            backend.probe_adapter(model.path, model)
        with pytest.raises(ModelFileInvalid, match=model.path.name):
            adapting.load_adapter(model.path)
