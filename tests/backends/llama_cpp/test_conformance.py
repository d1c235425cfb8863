"""The contract's own suite, as it is."""

import pytest

from pilotlight_backend.testing.conformance import BackendConformance
from pilotlight_backend.testing.conformance.cancelling import CancelConformance
from pilotlight_backend.testing.conformance.embedding import EmbedConformance
from pilotlight_backend.testing.conformance.sharing import ShareConformance
from pilotlight_llama_cpp.backend import LlamaCppBackend


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


class TestLlamaCppSlidingWindow(CancelConformance, ShareConformance):
    """Nothing of a window's cache is lost while it is in its context: it is cut and copied."""

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return LlamaCppBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def model_path(cls, sliding_window):
        return sliding_window


class TestLlamaCppDecoderThatEmbeds(EmbedConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return LlamaCppBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def embedding_model_path(cls, embedding_decoder):
        return embedding_decoder
