"""What a trace says of a request and of a load, as values."""

import pytest
from msgspec.structs import replace

from pilotlight.observability.metrics import AnswerRecord, LoadRecord, RequestRecord
from pilotlight.observability.traces import (
    Span,
    answer_span,
    load_span,
    request_attributes,
    request_error,
)

WHOLE = AnswerRecord(
    model="m",
    outcome="stop",
    hold=1.0,
    submitted=1.5,
    queue=0.5,
    prefill=1.0,
    first_token=3.0,
    decode=2.0,
    took=5.25,
    prompt_tokens=30,
    cached_tokens=10,
    completion_tokens=4,
)


def phases(span: Span) -> list[tuple[str, float, float]]:
    return [(child.name, child.start, child.end) for child in span.children]


def test_an_answer_and_its_phases():
    """The conventions' names, and hold, queue, prefill and decode where they passed."""
    span = answer_span(WHOLE, "chat")
    assert (span.name, span.start, span.end, span.error) == ("chat m", 0.0, 5.25, None)
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "pilotlight",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m",
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 10,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.response.finish_reasons": ["stop"],
    }
    assert phases(span) == [
        ("hold", 0.0, 1.0),
        ("queue", 1.5, 2.0),
        ("prefill", 2.0, 3.0),
        ("decode", 3.0, 5.0),
    ]


@pytest.mark.parametrize(
    ("tag", "operation"),
    [
        ("chat", "chat"),
        ("messages", "chat"),
        ("completions", "text_completion"),
        ("embeddings", "embeddings"),
        ("tokens", "tokenize"),
        (None, "generate"),
    ],
)
def test_operations_have_the_conventions_names(tag, operation):
    """Whichever client's API was asked."""
    span = answer_span(WHOLE, tag)
    assert span.attributes["gen_ai.operation.name"] == operation
    assert span.name == f"{operation} m"


@pytest.mark.parametrize(
    ("left", "last"),
    [
        ({"queue": None, "prefill": None, "decode": None}, ("queue", 1.5, 5.25)),
        ({"prefill": None, "decode": None}, ("prefill", 2.0, 5.25)),
        ({"decode": None}, ("decode", 3.0, 5.25)),
        ({"submitted": None, "queue": None, "prefill": None, "decode": None}, ("hold", 0.0, 1.0)),
    ],
)
def test_the_phase_that_was_cut_short_ends_with_the_request(left, last):
    """A client that hangs up in the queue shows how long it waited there."""
    record = replace(WHOLE, outcome="cancelled", **left)
    span = answer_span(record, "chat")
    assert phases(span)[-1] == last
    assert span.error is None


def test_embeddings_have_no_decode():
    """They end with their prefill."""
    record = replace(WHOLE, completion_tokens=0, decode=0.0, inputs=2)
    span = answer_span(record, "embeddings")
    assert [name for name, _, _ in phases(span)] == ["hold", "queue", "prefill"]
    assert span.attributes["pilotlight.embedding.inputs"] == 2
    assert "gen_ai.usage.output_tokens" not in span.attributes


def test_a_ranking_has_the_number_of_its_documents():
    """Under the project's own prefix: the conventions have no name for it."""
    record = replace(WHOLE, completion_tokens=0, decode=0.0, documents=3)
    assert answer_span(record, "rerank").attributes["pilotlight.rerank.documents"] == 3


def test_an_answer_that_failed():
    """The type is the error's code; an unknown model is not named."""
    span = answer_span(AnswerRecord(model="", outcome="model_not_found", took=0.5), "chat")
    assert (span.name, span.error, phases(span)) == ("chat", "model_not_found", [])
    assert "gen_ai.request.model" not in span.attributes
    assert "gen_ai.response.finish_reasons" not in span.attributes


def test_a_load_and_its_phases():
    """The fetch stands at the beginning, the other phases lead to the end."""
    phases_of = {"fetch": 4.0, "read": 2.0, "load": 1.0, "warm": 0.5}
    record = LoadRecord(model="m", backend="b", outcome="ready", phases=phases_of, seconds=9.0)
    span = load_span(record)
    assert (span.name, span.end, span.error) == ("load m", 9.0, None)
    assert span.attributes["pilotlight.backend"] == "b"
    assert phases(span) == [
        ("fetch", 0.0, 4.0),
        ("read", 5.5, 7.5),
        ("load", 7.5, 8.5),
        ("warm", 8.5, 9.0),
    ]


def test_a_load_that_failed():
    """It has no phases and no backend, and its error's code."""
    span = load_span(
        LoadRecord(model="m", backend="", outcome="insufficient_memory", phases={}, seconds=1.0)
    )
    assert (span.error, span.children) == ("insufficient_memory", [])
    assert "pilotlight.backend" not in span.attributes


@pytest.mark.parametrize(
    ("status", "error", "failure"),
    [
        (200, None, None),
        (200, "inference_error", "inference_error"),
        (404, "model_not_found", None),
        (499, None, None),
        (500, "inference_error", "inference_error"),
        (500, None, "500"),
        (503, "model_loading", "model_loading"),
    ],
)
def test_what_the_server_failed_with(status, error, failure):
    """What a client did wrong is no failure of the server's; a stream that broke is one."""
    record = RequestRecord(method="POST", route="/x", status=status, seconds=1.0, error=error)
    assert request_error(record) == failure


def test_the_end_of_a_request():
    """Its status, its route where it has one, and whether the client stayed."""
    record = RequestRecord(method="GET", route=None, status=404, seconds=1.0)
    assert request_attributes(record) == {"http.response.status_code": 404}
    left = replace(record, route="/x", status=200, client_gone=True)
    assert request_attributes(left) == {
        "http.response.status_code": 200,
        "http.route": "/x",
        "pilotlight.client_gone": True,
    }
