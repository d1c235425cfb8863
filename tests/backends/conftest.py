"""The models that these tests load."""

import dataclasses

import pytest

from benchmarks import random_gguf


@pytest.fixture(scope="session")
def exact_model(tmp_path_factory):
    """Return a GGUF with Q8_0 weights, whose kernels treat a row alike in any batch."""
    path = tmp_path_factory.mktemp("models") / "exact.gguf"
    random_gguf.write(path, dataclasses.replace(random_gguf.TINY, weights="Q8_0"), seed=3)
    return path
