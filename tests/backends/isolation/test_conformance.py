"""The contract's own suite, as it is, for engines in processes of their own."""

from pathlib import Path

import pytest

from pilotlight_backend.testing.conformance import BackendConformance
from pilotlight_backend.testing.fake import FakeBackend, FakeModel
from pilotlight_isolation.backend import IsolatedBackend
from pilotlight_llama_cpp.backend import LlamaCppBackend
from pilotlight_onnx.backend import OnnxBackend


class TestIsolatedFake(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls) -> str:
        return "pilotlight_backend.testing.plugin"

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, plugin: str) -> IsolatedBackend:
        return IsolatedBackend(FakeBackend(), plugin)

    @pytest.fixture(scope="class")
    @classmethod
    def model_path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return FakeModel(name="echo").write(tmp_path_factory.mktemp("models") / "echo.fake")

    @pytest.fixture(scope="class")
    @classmethod
    def embedding_model_path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        model = FakeModel(embedding_length=8)
        return model.write(tmp_path_factory.mktemp("models") / "embed.fake")


class TestIsolatedLlamaCpp(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> IsolatedBackend:
        return IsolatedBackend(LlamaCppBackend())

    @pytest.fixture(scope="class")
    @classmethod
    def model_path(cls, backend: IsolatedBackend) -> Path:
        return backend.embedded()

    @pytest.fixture(scope="class")
    @classmethod
    def embedding_model_path(cls, bert: Path) -> Path:
        return bert


class TestIsolatedOnnx(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> IsolatedBackend:
        return IsolatedBackend(OnnxBackend())

    @pytest.fixture(scope="class")
    @classmethod
    def model_path(cls, backend: IsolatedBackend) -> Path:
        return backend.embedded()
