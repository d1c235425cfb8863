"""The contract's own suite, as it is."""

import pytest

from pilotlight_backend.testing.conformance import BackendConformance
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
