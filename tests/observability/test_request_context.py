"""What is known of a request: its id, the trace it belongs to, and for how long."""

import asyncio

import pytest

from pilotlight.observability.metrics import AnswerRecord
from pilotlight.observability.request_context import (
    RequestContext,
    TraceContext,
    activated,
    current,
    note_answer,
    note_error,
    request_id,
    trace_context,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def context() -> RequestContext:
    return RequestContext(id="req_1", method="GET", path="/x")


@pytest.mark.parametrize(
    "given", ["1", "req_5f0c", "7d7f8d2e-5a0b-4c9e-9f63-1c1d8d3f5a11", "a.b:c/d+e=@f", "x" * 128]
)
def test_a_clients_id_is_kept(given):
    """What callers and proxies make is kept as it is."""
    assert request_id(given) == given


@pytest.mark.parametrize(
    "given", [None, "", " ", "x" * 129, "a b", "a\nb", "a\x00", 'a"b', "-rf", "ü", "a;b", "<b>"]
)
def test_an_unfit_id_is_replaced(given):
    """What is too long, or could break a header, a log line or a page, is made anew."""
    made, other = request_id(given), request_id(given)
    assert made.startswith("req_")
    assert request_id(made) == made
    assert made != other


@pytest.mark.parametrize(
    ("headers", "context"),
    [
        ({"traceparent": f"00-{TRACE}-{SPAN}-01"}, TraceContext(TRACE, SPAN, sampled=True)),
        ({"traceparent": f"00-{TRACE}-{SPAN}-00"}, TraceContext(TRACE, SPAN, sampled=False)),
        ({"traceparent": f" 00-{TRACE}-{SPAN}-03 "}, TraceContext(TRACE, SPAN, sampled=True)),
        ({"traceparent": f"01-{TRACE}-{SPAN}-01-new"}, TraceContext(TRACE, SPAN, sampled=True)),
        (
            {"x-cloud-trace-context": f"{TRACE.upper()}/1;o=1"},
            TraceContext(TRACE, "0000000000000001", sampled=True),
        ),
        ({"x-cloud-trace-context": f"{TRACE}/0"}, TraceContext(TRACE, None, sampled=False)),
        ({"x-cloud-trace-context": TRACE}, TraceContext(TRACE, None, sampled=False)),
        (
            {"traceparent": f"00-{TRACE}-{SPAN}-01", "x-cloud-trace-context": "1" * 32},
            TraceContext(TRACE, SPAN, sampled=True),
        ),
    ],
)
def test_the_callers_span(headers, context):
    """W3C's header, else Google's, whose span is a decimal number."""
    assert trace_context(headers) == context


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": ""},
        {"traceparent": "00-1-2-01"},
        {"traceparent": f"00-{TRACE}-{SPAN}"},
        {"traceparent": f"00-{TRACE}-{SPAN}-01-more"},
        {"traceparent": f"ff-{TRACE}-{SPAN}-01"},
        {"traceparent": f"00-{'0' * 32}-{SPAN}-01"},
        {"traceparent": f"00-{TRACE}-{'0' * 16}-01"},
        {"traceparent": f"00-{TRACE.upper()}-{SPAN}-01"},
        {"traceparent": f"00-{TRACE}-{SPAN}-01\nx"},
        {"x-cloud-trace-context": "x/1;o=1"},
        {"x-cloud-trace-context": f"{TRACE}/;o=1"},
    ],
)
def test_a_span_that_cannot_be_understood_is_ignored(headers):
    """A broken header is no header: the request is answered all the same."""
    assert trace_context(headers) is None


async def test_it_is_current_for_what_the_request_begins():
    """Tasks and threads that a request starts have its context; no others have."""
    with activated(one := context()):
        task = asyncio.create_task(asyncio.to_thread(current))
        assert current() is one
    assert await task is one
    assert one.over
    assert current() is None


async def test_requests_are_told_apart():
    """Two requests at once each have their own."""
    both = asyncio.Barrier(2)

    async def run(one: RequestContext) -> bool:
        with activated(one):
            await both.wait()
            return current() is one

    assert await asyncio.gather(run(context()), run(context())) == [True, True]


def test_notes_are_the_current_requests():
    """Outside of a request there is no context."""
    record = AnswerRecord(model="m", outcome="stop")
    note_answer(record)
    note_error("queue_full")
    with activated(one := context()):
        note_answer(record)
        note_error("queue_full")
    assert (one.answer, one.error) == (record, "queue_full")
    assert one.answered_at > 0
