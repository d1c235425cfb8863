"""The contract's own suite, as it is."""

import pytest

from pilotlight_backend.testing.conformance import BackendConformance
from pilotlight_onnx.backend import OnnxBackend

pytestmark = pytest.mark.slow


class TestOnnx(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls):
        return OnnxBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def model_path(cls, backend):
        return backend.embedded()
