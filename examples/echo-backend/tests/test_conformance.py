"""The contract's own suite, as it is: all that a backend of yours needs to be held to it."""

from pathlib import Path

import pytest

from pilotlight_backend.testing.conformance import BackendConformance
from pilotlight_echo.backend import EchoBackend

pytestmark = pytest.mark.slow


class TestEcho(BackendConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> EchoBackend:
        return EchoBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def model_path(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Write a model that is not very sure, so that sampling has something to choose."""
        path = tmp_path_factory.mktemp("models") / "unsure.echo"
        path.write_text('{"format": "echo-1", "name": "unsure", "confidence": 8}')
        return path
