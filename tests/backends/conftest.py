"""The models that these tests load."""

import dataclasses

import pytest

from benchmarks import random_gguf
from tests.backends import random_bert


@pytest.fixture(scope="session")
def exact_model(tmp_path_factory):
    """Return a GGUF with Q8_0 weights, whose kernels treat a row alike in any batch."""
    path = tmp_path_factory.mktemp("models") / "exact.gguf"
    random_gguf.write(path, dataclasses.replace(random_gguf.TINY, weights="Q8_0"), seed=3)
    return path


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    """Return a GGUF of an encoder that embeds, with mean pooling."""
    return random_bert.write(tmp_path_factory.mktemp("models") / "bert.gguf")


@pytest.fixture(scope="session")
def cross_encoder(tmp_path_factory):
    """Return a GGUF of an encoder that ranks, as BERT's cross-encoders do."""
    path = tmp_path_factory.mktemp("models") / "cross.gguf"
    return random_bert.write(path, pooling=random_bert.RANK, seed=5)


@pytest.fixture(scope="session")
def ranking_decoder(tmp_path_factory):
    """Return a GGUF of a decoder that ranks, as Qwen3-Reranker does."""
    path = tmp_path_factory.mktemp("models") / "reranker.gguf"
    shape = dataclasses.replace(random_gguf.TINY, weights="Q8_0", pooling=random_gguf.RANK)
    random_gguf.write(path, shape, seed=6)
    return path


@pytest.fixture(scope="session")
def embedding_decoder(tmp_path_factory):
    """Return a GGUF of a decoder that embeds, its last token being pooled."""
    path = tmp_path_factory.mktemp("models") / "last.gguf"
    shape = dataclasses.replace(random_gguf.TINY, weights="Q8_0", pooling=3)
    random_gguf.write(path, shape, seed=1)
    return path
