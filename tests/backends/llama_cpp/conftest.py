"""The models that these tests load."""

import pytest

from benchmarks import random_gguf
from pilotlight_llama_cpp.backend import LlamaCppBackend


@pytest.fixture(scope="session")
def random_model(tmp_path_factory):
    """Return a model of a quarter of a megabyte whose weights are noise."""
    path = tmp_path_factory.mktemp("models") / "random.gguf"
    random_gguf.write(path, random_gguf.TINY)
    return path


@pytest.fixture(scope="session")
def model_path(random_model):
    """Return the small model inside the plugin; the random one where it is not built in."""
    return LlamaCppBackend().embedded() or random_model
