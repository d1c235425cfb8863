"""The contract's own suite, as it is."""

import pytest

from benchmarks import random_gguf, random_lora
from pilotlight_backend.testing.conformance import BackendConformance
from pilotlight_backend.testing.conformance.embedding import EmbedConformance
from pilotlight_backend.testing.conformance.ranking import RankConformance
from pilotlight_backend.testing.conformance.seeing import SeeConformance
from pilotlight_llama_cpp.backend import LlamaCppBackend

pytestmark = pytest.mark.slow


class TestLlamaCpp(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return LlamaCppBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def model_path(cls, model_path):
        return model_path

    @pytest.fixture(scope="class")
    @classmethod
    def seeing_model_path(cls):
        path = LlamaCppBackend().embedded()
        if path is None:
            pytest.skip("the embedded model is not built in")
        return path

    @pytest.fixture(scope="class")
    @classmethod
    def adapter_path(cls, model_path, tmp_path_factory):
        # Strong enough for a trained model to answer otherwise.
        keys = {"adapter.lora.alpha": (random_gguf.F32, 400.0)}
        path = tmp_path_factory.mktemp("adapters") / "a.gguf"
        return random_lora.write(path, model_path, keys=keys)

    @pytest.fixture(scope="class")
    @classmethod
    def embedding_model_path(cls, bert):
        return bert

    @pytest.fixture(scope="class")
    @classmethod
    def ranking_model_path(cls, cross_encoder):
        return cross_encoder


class _Seeing(SeeConformance):
    name = ""

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return LlamaCppBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def seeing_model_path(cls, seeing_model):
        return seeing_model(cls.name)


class TestLlamaCppThatSees(_Seeing):
    """An image is evaluated like a prompt."""

    name = "mlp"


class TestLlamaCppThatSeesWithoutCausalAttention(_Seeing):
    name = "gemma3"


class TestLlamaCppThatSeesTiles(_Seeing):
    name = "idefics3"


class TestLlamaCppThatSeesRowsAndColumns(_Seeing):
    name = "qwen2vl"


class TestLlamaCppDecoderThatRanks(RankConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return LlamaCppBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def ranking_model_path(cls, ranking_decoder):
        return ranking_decoder


class TestLlamaCppDecoderThatEmbeds(EmbedConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return LlamaCppBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def embedding_model_path(cls, embedding_decoder):
        return embedding_decoder
