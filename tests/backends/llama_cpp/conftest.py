"""The models that these tests load."""

import pytest

from benchmarks import random_families, random_gguf, random_seeing
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


@pytest.fixture(scope="session")
def family(tmp_path_factory):
    """Return a function that returns a small model of an architecture, made once."""
    folder = tmp_path_factory.mktemp("families")

    def make(architecture, **keys):
        name = "-".join([architecture, *(f"{key}={value}" for key, value in keys.items())])
        path = folder / f"{name}.gguf"
        return path if path.exists() else random_families.write(path, architecture, **keys)

    return make


@pytest.fixture(scope="session")
def seeing_model(tmp_path_factory):
    """Return a function that returns a small model that sees, of a kind, made once."""
    folder = tmp_path_factory.mktemp("seeing")

    def make(name):
        path = folder / name / f"{name}.gguf"
        return path if path.exists() else random_seeing.write(folder, name)

    return make
