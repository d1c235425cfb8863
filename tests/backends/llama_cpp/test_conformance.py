"""The contract's own suite, as it is."""

import pytest

from pilotlight_backend.testing.conformance import BackendConformance
from pilotlight_backend.testing.conformance.embedding import EmbedConformance
from pilotlight_backend.testing.conformance.ranking import RankConformance
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
    def embedding_model_path(cls, bert):
        return bert

    @pytest.fixture(scope="class")
    @classmethod
    def ranking_model_path(cls, cross_encoder):
        return cross_encoder


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
