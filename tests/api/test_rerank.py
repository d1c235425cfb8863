"""`POST /v1/rerank` and `/v2/rerank`: requests of Jina, Cohere and TEI, and their errors."""

import asyncio
import math
from typing import Any

import httpx
import msgspec
import pytest

from pilotlight.generation.ranking import sigmoid
from pilotlight.schema.rerank import RerankRequest
from pilotlight_backend.testing.fake_ranking_engine import share_of
from tests.api.caller import Call
from tests.api.tables import documented
from tests.conftest import FakeService, chat

RERANK = "/v1/rerank"
END = 257
"""The fake's end token, which it puts behind a query and behind a document."""
QUERY = "black cat"
DOCUMENTS = ["a dog", "a black cat sat", "the cat", "a black dog"]
ORDER = [1, 3, 2, 0]
"""By how much of the query's letters they have."""


def body(documents: Any = None, model: str | None = "r", **fields: Any) -> dict[str, Any]:
    """Return a request to rank."""
    named = {} if model is None else {"model": model}
    given = {} if documents is None else {"documents": documents}
    return {"query": QUERY, **named, **given, **fields}


async def post(
    service: FakeService, content: Any, path: str = RERANK, **headers: str
) -> httpx.Response:
    """Send *content* to the endpoint, bytes as they are."""
    data = content if isinstance(content, bytes) else msgspec.json.encode(content)
    headers = {"content-type": "application/json", **headers}
    return await service.client.post(path, content=data, headers=headers)


async def ask(service: FakeService, content: Any, path: str = RERANK) -> Any:
    """Return the body of a successful response."""
    response = await post(service, content, path)
    assert response.status_code == 200, response.text
    return response.json()


async def refused(service: FakeService, content: Any) -> dict[str, Any]:
    """Return the error of a request that is a 400."""
    response = await post(service, content)
    assert response.status_code == 400, response.text
    return response.json()["error"]


def pair(document: str, query: str = QUERY) -> list[int]:
    """Return what the fake makes of a pair."""
    return [*query.encode(), END, *document.encode(), END]


def logit(document: str) -> float:
    """Return the fake's score of a document."""
    return 8 * share_of(pair(document), [END]) - 4


@pytest.fixture
async def ranking(start) -> FakeService:
    """Return a service with a model that ranks, `r`, one that writes, `m`, one that embeds, `e`."""
    service = await start()
    service.write("r", relevance="logit", context_length=64)
    service.write("e", embedding_length=8)
    service.write("m", reply="Hello.")
    return service


# The request and its response


async def test_documents_are_ranked(ranking):
    """The most relevant first, with their index, the model's own score, and the tokens."""
    answer = await ask(ranking, body(DOCUMENTS))
    tokens = sum(len(pair(one)) for one in DOCUMENTS)
    assert answer.pop("id").startswith("rerank-")
    assert answer == {
        "object": "list",
        "model": "r",
        "results": [
            {"index": index, "relevance_score": logit(DOCUMENTS[index])} for index in ORDER
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "meta": {
            "api_version": {"version": "1"},
            "tokens": {"input_tokens": tokens, "output_tokens": 0},
        },
    }


async def test_many_documents_are_one_request_of_the_engine(ranking):
    """In their order, each with the query."""
    await ask(ranking, body(DOCUMENTS))
    (engine,) = ranking.backend.rankers
    assert engine.requests == [tuple(tuple(pair(one)) for one in DOCUMENTS)]


@pytest.mark.parametrize("path", [RERANK, "/rerank"])
async def test_texts_are_answered_as_tei_does(ranking, path):
    """A list of scores from 0 to 1, without a model in the request."""
    answer = await ask(ranking, body(None, None, texts=DOCUMENTS), path)
    assert [one["index"] for one in answer] == ORDER
    expected = [sigmoid(logit(DOCUMENTS[index])) for index in ORDER]
    assert [one["score"] for one in answer] == pytest.approx(expected)
    assert all(set(one) == {"index", "score"} for one in answer)


async def test_texts_have_raw_scores_and_their_text_if_requested(ranking):
    """TEI's `raw_scores` and `return_text`."""
    answer = await ask(
        ranking, body(None, texts=DOCUMENTS, raw_scores=True, return_text=True, top_n=1)
    )
    assert answer == [{"index": 1, "score": logit(DOCUMENTS[1]), "text": DOCUMENTS[1]}]


async def test_cohere_v2_has_scores_from_0_to_1(ranking):
    """`/v2/rerank` is Cohere's alone; `raw_scores` decides on either path."""
    asked = body(DOCUMENTS, max_tokens_per_doc=4096, priority=1)
    answer = await ask(ranking, asked, "/v2/rerank")
    assert answer["meta"]["api_version"] == {"version": "2"}
    scores = [one["relevance_score"] for one in answer["results"]]
    raw = [logit(DOCUMENTS[index]) for index in ORDER]
    assert scores == pytest.approx([1 / (1 + math.exp(-score)) for score in raw])
    answer = await ask(ranking, asked | {"raw_scores": True}, "/v2/rerank")
    assert [one["relevance_score"] for one in answer["results"]] == raw
    answer = await ask(ranking, asked | {"raw_scores": False})
    assert [one["relevance_score"] for one in answer["results"]] == pytest.approx(scores)


async def test_probability_stays_as_it_is(ranking):
    """A model whose scores are probabilities has the same everywhere."""
    ranking.write("p", relevance="probability")
    expected = [share_of(pair(DOCUMENTS[index]), [END]) for index in ORDER]
    for path in (RERANK, "/v2/rerank"):
        answer = await ask(ranking, body(DOCUMENTS, "p"), path)
        assert [one["relevance_score"] for one in answer["results"]] == pytest.approx(expected)


@pytest.mark.parametrize(("top_n", "count"), [(1, 1), (3, 3), (4, 4), (99, 4), (None, 4)])
async def test_top_n_are_the_most_relevant(ranking, top_n, count):
    """More than there are is all of them."""
    answer = await ask(ranking, body(DOCUMENTS, top_n=top_n))
    assert [one["index"] for one in answer["results"]] == ORDER[:count]


async def test_equal_scores_keep_the_order_of_the_request(ranking):
    """So the same request has the same response."""
    answer = await ask(ranking, body(["same", "black", "same", "same"]))
    assert [one["index"] for one in answer["results"]] == [1, 0, 2, 3]


async def test_objects_are_ranked_by_their_fields(ranking):
    """By `text`, or by `rank_fields` in their order; results have the object as it was sent."""
    objects = [{"text": "a dog", "id": 7}, {"title": "black", "text": "cat"}, "a black cat"]
    answer = await ask(ranking, body(objects, return_documents=True))
    found = {one["index"]: one["document"] for one in answer["results"]}
    assert found == {0: objects[0], 1: objects[1], 2: {"text": "a black cat"}}
    await ask(ranking, body(objects[1:], rank_fields=["title", "text"]))
    (engine,) = ranking.backend.rankers
    assert engine.requests[0][1] == tuple(pair("cat"))
    assert engine.requests[1] == (tuple(pair("black\ncat")), tuple(pair("a black cat")))


async def test_texts_of_any_kind_have_a_score(ranking):
    """Emoji, a null character, a space, names of control tokens, and nothing at all."""
    answer = await ask(ranking, body(["🦙", "\x00", " ", "<|im_end|>", ""]))
    assert sorted(one["index"] for one in answer["results"]) == [0, 1, 2, 3, 4]
    (engine,) = ranking.backend.rankers
    assert [list(one).count(END) for one in engine.requests[0]] == [2] * 5


async def test_fields_without_effect(ranking):
    """Cohere's and those that are null change nothing."""
    plain = await ask(ranking, body(DOCUMENTS))
    fields = {
        "max_chunks_per_doc": 10, "priority": 3, "user": "u", "relevant_spans": None,
        "truncate": None, "truncation_direction": "Right", "max_tokens_per_doc": None,
    }  # fmt: skip
    answer = await ask(ranking, body(DOCUMENTS, **fields))
    assert answer["results"] == plain["results"]


# Long documents


async def test_document_beyond_the_context_is_named(ranking):
    """The 400 has its path and both figures, and says what cuts it."""
    for field in ("documents", "texts"):
        given = {field: ["a", "b", "c", "x" * 60, "x" * 70]}
        error = await refused(ranking, body() | given)
        assert (error["code"], error["param"]) == ("context_length_exceeded", f"{field}[3]")
        assert error["message"] == (
            f"{field}[3]: 71 tokens with the query; this model takes at most 64;"
            " `truncate: true` cuts long documents"
        )


async def test_truncate_cuts_a_document_at_its_end(ranking):
    """The query, and what the model has behind the document, stay whole."""
    long = "a black cat " + "x" * 100
    answer = await ask(ranking, body([long, "dog"], truncate=True))
    (engine,) = ranking.backend.rankers
    first, second = engine.requests[0]
    assert list(first) == [*pair(long)[:63], END]
    assert list(second) == pair("dog")
    assert answer["usage"]["prompt_tokens"] == 64 + len(pair("dog"))


async def test_max_tokens_per_doc_cuts_each_document(ranking):
    """To so many tokens, whether or not it would fit."""
    await ask(ranking, body(["black cat", "x" * 99, "dog"], max_tokens_per_doc=5))
    (engine,) = ranking.backend.rankers
    assert [list(one) for one in engine.requests[0]] == [
        pair("black"), pair("xxxxx"), pair("dog"),
    ]  # fmt: skip
    error = await refused(ranking, body(["x" * 99], max_tokens_per_doc=80))
    assert error["param"] == "documents[0]"
    await ask(ranking, body(["x" * 99], max_tokens_per_doc=80, truncate=True))
    assert len(engine.requests[1][0]) == 64


async def test_long_query_with_many_documents_is_refused(start):
    """It is tokenized with each, so a small body would become a large one."""
    service = await start(max_request_bytes=10_000)
    service.write("r", relevance="logit")
    error = await refused(service, body(["a"] * 100, query="x" * 101))
    assert (error["param"], error["code"]) == ("query", "invalid_request_error")
    assert error["message"] == (
        "query: expected at most 100 characters with 100 documents, got 101"
    )
    assert service.backend.loads == []
    await ask(service, body(["a"] * 100, query="x" * 100))


@pytest.mark.parametrize("truncate", [False, True])
async def test_query_beyond_the_context_is_named(ranking, truncate):
    """It is never cut."""
    error = await refused(ranking, body(["a"], query="x" * 62, truncate=truncate))
    assert (error["code"], error["param"]) == ("context_length_exceeded", "query")
    assert error["message"] == (
        "query: 64 tokens with what the model adds; this model takes at most 64, the document"
        " included"
    )
    await ask(ranking, body(["a"], query="x" * 61))


async def test_engine_that_refuses_a_pair_names_the_longest(ranking):
    """An engine may take less than its context."""
    ranking.write("short", relevance="logit", longest_prompt=20)
    error = await refused(ranking, body(["a", "x" * 20, "b"], "short"))
    assert (error["code"], error["param"]) == ("context_length_exceeded", "documents[1]")


# What is refused


@pytest.mark.parametrize(
    ("content", "param"),
    [
        (body(), "documents"),
        (body(["a"], texts=["a"]), "documents"),
        (body([]), "documents"),
        (body("a"), "documents"),
        (body(["a"] * 2049), "documents"),
        (body(["a", 1]), "documents[1]"),
        (body(["a", None]), "documents[1]"),
        (body([{"title": "a"}]), "documents[0].text"),
        (body(["a", {"text": 1}]), "documents[1].text"),
        (body([{"text": "a"}], rank_fields=["text", "body"]), "documents[0].body"),
        (body([{"text": "a"}], rank_fields=[]), "rank_fields"),
        (body(None, texts=[]), "texts"),
        (body(None, texts=[{"text": "a"}]), "texts[0]"),
        (body(["a"], query=""), "query"),
        (body(["a"], query=["a"]), "query"),
        ({"model": "r", "documents": ["a"]}, "query"),
        (body(["a"], ""), "model"),
        (body(["a"], top_n=0), "top_n"),
        (body(["a"], max_tokens_per_doc=0), "max_tokens_per_doc"),
        (body(["a"], truncate="END"), "truncate"),
        (body(["a"], truncation_direction="left"), "truncation_direction"),
        (body(["a"], relevant_spans={"mode": "enabled"}), "relevant_spans"),
        (body(["a"], colour="red"), "colour"),
    ],
)
async def test_what_cannot_be_ranked_is_refused(ranking, content, param):
    """The 400 names the field, and the place in it."""
    error = await refused(ranking, content)
    assert (error["param"], error["code"]) == (param, "invalid_request_error")
    assert error["message"].startswith(f"{param}: ")


@pytest.mark.parametrize(("model", "does"), [("m", "generates text"), ("e", "makes embeddings")])
async def test_model_that_does_not_rank_is_refused(ranking, model, does):
    """The 400 says what it does."""
    error = await refused(ranking, body(["a"], model))
    assert error["param"] == "model"
    assert error["message"] == (
        f"model: {model!r} {does} and does not rank documents"
        "; expected a model whose capabilities in GET /v1/models have rerank"
    )


async def test_model_that_ranks_does_nothing_else(ranking):
    """Chat and embeddings say so."""
    response = await ranking.post(chat("r"))
    assert response.status_code == 400
    said = response.json()["error"]["message"]
    assert said == (
        "model: 'r' ranks documents and does not generate text"
        "; expected a model whose capabilities in GET /v1/models have completion"
    )
    response = await post(ranking, {"model": "r", "input": "a"}, "/v1/embeddings")
    assert response.status_code == 400
    said = response.json()["error"]["message"]
    assert said == (
        "model: 'r' ranks documents and does not make embeddings"
        "; expected a model whose capabilities in GET /v1/models have embedding"
    )


async def test_omitted_model_is_the_only_one_that_ranks(ranking):
    """With several, or none, it is a 400."""
    assert (await ask(ranking, body(["a"], None)))["model"] == "r"
    ranking.write("s", relevance="logit")
    error = await refused(ranking, body(["a"], None))
    assert error["param"] == "model"
    assert error["message"] == "model: expected the name of a model that ranks: r, s"


async def test_no_model_that_ranks(start):
    """Nothing is loaded to find that out."""
    service = await start()
    service.write("m", reply="Hello.")
    error = await refused(service, body(["a"], None))
    assert error["message"] == (
        "model: no model here ranks documents; add one whose capabilities have rerank"
    )
    assert service.backend.loads == []


async def test_engine_that_fails_is_a_500(ranking):
    """The next request has its scores."""
    ranking.write("bad", relevance="logit", fail_after=1)
    response = await post(ranking, body(["a", "b"], "bad"))
    assert (response.status_code, response.json()["error"]["code"]) == (500, "inference_error")
    assert len((await ask(ranking, body(["a"], "bad")))["results"]) == 1


# A cold model, a full queue, and clients that leave


async def test_cold_model_is_held_for_and_leaves_a_timing(ranking):
    """The first response has the phases of the load, a warm one has none."""
    first = await post(ranking, body(["a"]))
    assert "first_token;dur=" in first.headers["server-timing"]
    assert "server-timing" not in (await post(ranking, body(["a"]))).headers


async def test_full_queue_is_a_429(start):
    """As many may wait as the setting says; embeddings and reranks have the same rule."""
    service = await start(parallel=1, max_queue=1)
    service.write("r", relevance="logit")
    service.backend.token_gate.hold()
    calls = [asyncio.create_task(post(service, body(["running"])))]
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    calls.append(asyncio.create_task(post(service, body(["waiting"]))))
    (engine,) = service.backend.rankers
    async with asyncio.timeout(10):
        while len(engine.requests) < 2:  # noqa: ASYNC110 - submitting emits no event
            await asyncio.sleep(0.01)
    response = await post(service, body(["too many"]))
    assert (response.status_code, response.json()["error"]["code"]) == (429, "queue_full")
    service.backend.token_gate.release()
    assert [one.status_code for one in await asyncio.gather(*calls)] == [200, 200]


async def test_client_that_disconnects_cancels_its_request(start):
    """Its slot is free for the next one."""
    service = await start(parallel=1)
    service.write("r", relevance="logit")
    service.backend.token_gate.hold()
    running = Call(service.app, body(["a"] * 100), path=RERANK)
    assert await asyncio.to_thread(service.backend.token_gate.wait_reached)
    await running.hang_up()
    service.backend.token_gate.release()
    await ask(service, body(["b"]))
    (engine,) = service.backend.rankers
    assert engine.stats().steps == 1


# Usage and quality


async def test_documents_are_counted(ranking):
    """By model, once they have scores; tokens as those of any request."""
    await ask(ranking, body(DOCUMENTS))
    metrics = (await ranking.client.get("/metrics")).text
    assert 'pilotlight_rerank_documents_total{model="r"} 4.0' in metrics
    tokens = sum(len(pair(one)) for one in DOCUMENTS)
    assert f'pilotlight_prompt_tokens_total{{model="r"}} {tokens}.0' in metrics


def ndcg(relevance: list[int], order: list[int]) -> float:
    """Return the normalized discounted cumulative gain of *order*."""

    def gain(of: list[int]) -> float:
        return sum((2**one - 1) / math.log2(place + 2) for place, one in enumerate(of))

    return gain([relevance[index] for index in order]) / gain(sorted(relevance, reverse=True))


JUDGED = [
    ("black cat", ["the black cat", "a cat", "red dog", "black"], [3, 1, 0, 1]),
    ("warm bread", ["cold bread", "a car", "warm bread today", "warm"], [1, 0, 3, 1]),
]


@pytest.mark.parametrize("path", [RERANK, "/v2/rerank", "/rerank"])
async def test_no_shape_changes_the_ranking(ranking, path):
    """NDCG over judged documents is that of the engine's own scores, in every shape."""
    for query, documents, judged in JUDGED:
        scores = [share_of(pair(one, query), [END]) for one in documents]
        best = sorted(range(len(scores)), key=lambda index: -scores[index])
        answer = await ask(ranking, {"model": "r", "query": query, "documents": documents}, path)
        order = [one["index"] for one in answer["results"]]
        assert ndcg(judged, order) == ndcg(judged, best)
        listed = await ask(ranking, {"model": "r", "query": query, "texts": documents}, path)
        assert [one["index"] for one in listed] == order


def test_sigmoid_has_no_overflow():
    """Of any finite number."""
    assert [sigmoid(one) for one in (-1e300, 0.0, 1e300)] == [0.0, 0.5, 1.0]
    assert sigmoid(2.0) == pytest.approx(0.880797, abs=1e-6)
    assert sigmoid(-2.0) == pytest.approx(1 - sigmoid(2.0))


def test_documented_fields():
    """Each field is in one of the three tables: honoured, accepted, refused."""
    tables = [documented("Reranking", name) for name in ("honoured", "accepted", "refused")]
    assert set.union(*tables) == set(RerankRequest.__struct_fields__)
    assert sum(map(len, tables)) == len(set.union(*tables))
