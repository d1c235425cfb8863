"""The contract's own suite, as it is, for engines in processes of their own."""

from pathlib import Path

import pytest

from benchmarks import random_lora
from pilotlight_backend.testing.conformance import BackendConformance
from pilotlight_backend.testing.conformance.adapting import AdaptConformance
from pilotlight_backend.testing.conformance.baking import BakeConformance
from pilotlight_backend.testing.conformance.caching import CacheConformance
from pilotlight_backend.testing.conformance.cancelling import CancelConformance
from pilotlight_backend.testing.conformance.closing import CloseConformance
from pilotlight_backend.testing.conformance.embedding import EmbedConformance
from pilotlight_backend.testing.conformance.generating import GenerateConformance
from pilotlight_backend.testing.conformance.guiding import GuideConformance
from pilotlight_backend.testing.conformance.loading import LoadConformance
from pilotlight_backend.testing.conformance.prefilling import PrefillConformance
from pilotlight_backend.testing.conformance.probing import ProbeConformance
from pilotlight_backend.testing.conformance.queueing import QueueingConformance
from pilotlight_backend.testing.conformance.ranking import RankConformance
from pilotlight_backend.testing.conformance.refusing import RefuseConformance
from pilotlight_backend.testing.conformance.tokenizing import TokenizeConformance
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
    def seeing_model_path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        model = FakeModel(image_tokens=20)
        return model.write(tmp_path_factory.mktemp("models") / "see.fake")

    @pytest.fixture(scope="class")
    @classmethod
    def embedding_model_path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        model = FakeModel(embedding_length=8)
        return model.write(tmp_path_factory.mktemp("models") / "embed.fake")

    @pytest.fixture(scope="class")
    @classmethod
    def ranking_model_path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        model = FakeModel(relevance="logit")
        return model.write(tmp_path_factory.mktemp("models") / "rank.fake")


class TestIsolatedLlamaCpp(
    ProbeConformance,
    LoadConformance,
    TokenizeConformance,
    GenerateConformance,
    GuideConformance,
    QueueingConformance,
    CancelConformance,
    PrefillConformance,
    RefuseConformance,
    CloseConformance,
    BakeConformance,
    CacheConformance,
    EmbedConformance,
    RankConformance,
):
    """A real backend. How it shares slots and prompts is its own, and examined in one process.

    What crosses the wire for that is the fake's too, which has the whole suite above.
    """

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

    @pytest.fixture(scope="class")
    @classmethod
    def ranking_model_path(cls, ranking_decoder: Path) -> Path:
        return ranking_decoder


class TestIsolatedAdapters(AdaptConformance):
    """Adapters of an engine in its own process; their files are checked in the service's."""

    test_file_of_another_kind_is_refused = None  # an isolated backend checks none itself

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> IsolatedBackend:
        return IsolatedBackend(LlamaCppBackend())

    @pytest.fixture(scope="class")
    @classmethod
    def model_path(cls, exact_model: Path) -> Path:
        return exact_model

    @pytest.fixture(scope="class")
    @classmethod
    def adapter_path(cls, exact_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return random_lora.write(tmp_path_factory.mktemp("adapters") / "a.gguf", exact_model)


class TestIsolatedOnnx(
    TokenizeConformance,
    GenerateConformance,
    GuideConformance,
    QueueingConformance,
    CancelConformance,
    RefuseConformance,
    CloseConformance,
):
    """What a second real backend may do otherwise: what is sent is another one's, of its kinds."""

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> IsolatedBackend:
        return IsolatedBackend(OnnxBackend())

    @pytest.fixture(scope="class")
    @classmethod
    def model_path(cls, backend: IsolatedBackend) -> Path:
        return backend.embedded()
