"""Reranking through Cohere's Python SDK, unmodified, against the live service."""

import inspect
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from pilotlight.config import Settings
from pilotlight.generation.ranking import sigmoid
from pilotlight.schema.rerank import RerankRequest
from pilotlight.server.app import create_app
from tests.backends import random_bert
from tests.conftest import LiveServer, live

cohere: Any = pytest.importorskip("cohere", reason="Cohere's SDK is not installed")

QUERY = "what is the cat?"
DOCUMENTS = ["the cat sat on the mat", "a dog ran home", "hello"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Serve a cross-encoder of random weights beside spark."""
    folder = tmp_path_factory.mktemp("models")
    random_bert.write(folder / "cross.gguf", pooling=random_bert.RANK, seed=5)
    settings = Settings(
        backends=("llama_cpp",), models_dir=folder, models_file=folder / "models.yaml"
    )
    with live(create_app(settings)) as server:
        yield server


@pytest.fixture(scope="module")
def scores(server: LiveServer) -> list[float]:
    """Return the model's own score of each document."""
    asked = {"model": "cross", "query": QUERY, "documents": DOCUMENTS}
    answer = httpx.post(f"{server.url}/v1/rerank", json=asked, timeout=60).json()
    by_index = {one["index"]: one["relevance_score"] for one in answer["results"]}
    return [by_index[index] for index in range(len(DOCUMENTS))]


@pytest.fixture
def connections() -> Iterator[httpx.Client]:
    """Return connections that end with the test; the SDK leaves its own open."""
    with httpx.Client(timeout=60) as connections:
        yield connections


def best_first(scores: list[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda index: -scores[index])


def test_second_version(server: LiveServer, scores: list[float], connections: httpx.Client):
    """Scores from 0 to 1, with the usage."""
    client = cohere.ClientV2("none", base_url=server.url, httpx_client=connections)
    answer = client.rerank(model="cross", query=QUERY, documents=DOCUMENTS, top_n=2)
    order = best_first(scores)[:2]
    assert [one.index for one in answer.results] == order
    found = [one.relevance_score for one in answer.results]
    assert found == pytest.approx([sigmoid(scores[index]) for index in order])
    assert answer.meta.tokens.input_tokens > len(DOCUMENTS)
    assert answer.id


def test_first_version(server: LiveServer, scores: list[float], connections: httpx.Client):
    """The model's own scores, with the documents; objects by their fields."""
    client = cohere.Client("none", base_url=server.url, httpx_client=connections)
    answer = client.rerank(model="cross", query=QUERY, documents=DOCUMENTS, return_documents=True)
    order = best_first(scores)
    assert [one.index for one in answer.results] == order
    assert [one.document.text for one in answer.results] == [DOCUMENTS[index] for index in order]
    objects = [{"title": "no", "body": text} for text in DOCUMENTS]
    same = client.rerank(model="cross", query=QUERY, documents=objects, rank_fields=["body"])
    assert [one.relevance_score for one in same.results] == [
        one.relevance_score for one in answer.results
    ]


def test_long_document(server: LiveServer, connections: httpx.Client):
    """The SDK raises its own error with the message, and the limit of the request cuts."""
    client = cohere.ClientV2("none", base_url=server.url, httpx_client=connections)
    long = "the cat sat " * 400
    with pytest.raises(cohere.BadRequestError) as caught:
        client.rerank(model="cross", query=QUERY, documents=["a", long])
    assert "documents[1]: " in str(caught.value.body)
    cut = client.rerank(model="cross", query=QUERY, documents=[long], max_tokens_per_doc=100)
    assert len(cut.results) == 1


def test_every_field_of_the_sdk_has_a_class():
    """What it can send is a field of the request."""
    for client in (cohere.ClientV2, cohere.Client):
        fields = set(inspect.signature(client.rerank).parameters) - {"self", "request_options"}
        assert fields <= set(RerankRequest.__struct_fields__)
