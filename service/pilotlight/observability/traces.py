"""Export spans of requests and loads to an OpenTelemetry collector, if one is configured.

Names and attributes follow the semantic conventions for generative AI; attributes that these do not
have begin with `pilotlight.`. No attribute contains text of a client.
"""

import threading
import time
from asyncio import to_thread
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from pilotlight.config import ConfigError
from pilotlight.observability.metrics import AnswerRecord, LoadRecord, RequestRecord
from pilotlight.observability.request_context import RequestContext, TraceContext, current

Attributes: TypeAlias = Mapping[str, str | bool | int | float | Sequence[str]]

_PROVIDER = "pilotlight"
_OPERATIONS = {
    "chat": "chat",
    "messages": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "rerank": "rerank",
    "tokens": "tokenize",
}
"""Operation names of the conventions by endpoint tag; the last two are not theirs."""
_FINISHES = frozenset(("stop", "length", "tool_calls"))
_NO_ERRORS = _FINISHES | {"cancelled", "tokenized"}
_SERVER_ERRORS = 500


class Span(Struct, frozen=True, kw_only=True):
    """A span within a request or a load; in seconds since the start of the outermost."""

    name: str
    start: float
    end: float
    attributes: Attributes = {}
    error: str | None = None
    """The error type, if it failed."""
    children: "Sequence[Span]" = ()


def request_attributes(record: RequestRecord) -> Attributes:
    """Return the attributes that are known at the end of a request."""
    attributes: dict[str, str | int | bool] = {"http.response.status_code": record.status}
    if record.route is not None:
        attributes["http.route"] = record.route
    if record.client_gone:
        attributes["pilotlight.client_gone"] = True
    return attributes


def request_error(record: RequestRecord) -> str | None:
    """Return the error of the server, if any; a 4xx is none.

    A stream that fails has sent its 200 before.
    """
    if record.status >= _SERVER_ERRORS:
        return record.error or str(record.status)
    return record.error if record.status == 200 else None  # noqa: PLR2004 - HTTP's own


def answer_span(record: AnswerRecord, tag: str | None) -> Span:
    """Return the span of a request to a model, from an endpoint with *tag*."""
    took = record.took or 0.0
    operation = _OPERATIONS.get(tag or "", "generate")
    attributes: dict[str, str | int | Sequence[str]] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": _PROVIDER,
    }
    if record.model:
        attributes |= {
            "gen_ai.request.model": record.model,
            "gen_ai.response.model": record.model,
        }
    if record.prompt_tokens:
        attributes["gen_ai.usage.input_tokens"] = record.prompt_tokens
        attributes["gen_ai.usage.cache_read.input_tokens"] = record.cached_tokens
    if record.completion_tokens:
        attributes["gen_ai.usage.output_tokens"] = record.completion_tokens
    if record.inputs:
        attributes["pilotlight.embedding.inputs"] = record.inputs
    if record.documents:
        attributes["pilotlight.rerank.documents"] = record.documents
    if record.outcome in _FINISHES:
        attributes["gen_ai.response.finish_reasons"] = [record.outcome]
    return Span(
        name=f"{operation} {record.model}" if record.model else operation,
        start=0.0,
        end=took,
        attributes=attributes,
        error=None if record.outcome in _NO_ERRORS else record.outcome,
        children=[
            Span(name=name, start=start, end=end) for name, start, end in _phases(record, took)
        ],
    )


def _phases(record: AnswerRecord, took: float) -> list[tuple[str, float, float]]:
    """Return the phases that a request reached; if it is cut short, the last one ends with it."""
    phases = [] if record.hold is None else [("hold", 0.0, record.hold)]
    at = record.submitted
    for name, seconds in (
        ("queue", record.queue),
        ("restore", record.restore),
        ("prefill", record.prefill),
        ("decode", record.decode),
    ):
        if at is None or (name == "decode" and not _decodes(record)):
            break
        if name == "restore" and seconds is None:
            continue
        end = took if seconds is None else at + seconds
        phases.append((name, at, end))
        at = None if seconds is None else end
    return phases


def _decodes(record: AnswerRecord) -> bool:
    """Return whether there was a decode phase: embeddings end with their prefill."""
    return record.completion_tokens > 0 or record.decode is None


def load_span(record: LoadRecord) -> Span:
    """Return the span of a load; the phases after the fetch are consecutive and end with it."""
    children = []
    end = record.seconds
    for name, seconds in reversed(list(record.phases.items())):
        if name == "fetch":
            children.append(Span(name=name, start=0.0, end=seconds))
        else:
            children.append(Span(name=name, start=max(end - seconds, 0.0), end=end))
            end -= seconds
    attributes = {"gen_ai.request.model": record.model, "gen_ai.provider.name": _PROVIDER}
    if record.backend:
        attributes["pilotlight.backend"] = record.backend
    return Span(
        name=f"load {record.model}",
        start=0.0,
        end=record.seconds,
        attributes=attributes,
        error=None if record.outcome == "ready" else record.outcome,
        children=children[::-1],
    )


if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

    from pilotlight.observability.otel import Otel, ServerSpan

_EXPORT_GRACE = 2.0
"""Seconds in which a process that exits can still export its last spans."""


class Traces:
    """Exports requests and loads to a collector. Used on one loop.

    Spans are made from existing records once a request or load has ended: a token costs nothing.
    """

    def __init__(self, endpoint: str | None) -> None:
        """*endpoint* is the URL of the collector; None exports nothing.

        Raises `ConfigError` if OpenTelemetry is not installed.
        """
        self._endpoint = endpoint
        self._otel: Otel | None = None
        self._early: list[tuple[LoadRecord, int, TraceContext | None]] = []
        """Loads that ended before OpenTelemetry was imported."""
        if endpoint is not None and not _installed():
            raise ConfigError(
                f"--otlp-endpoint {endpoint}: OpenTelemetry is not installed; install"
                " pilotlight[otel]"
            )

    async def open(self, processor: "SpanProcessor | None" = None) -> None:
        """Start to export; *processor* gets the spans instead of the collector.

        OpenTelemetry is imported on a thread: that takes long, and models load meanwhile. Does
        nothing without a collector and without *processor*.
        """
        if processor is not None or self._endpoint is not None:
            self._otel = await to_thread(_made, self._endpoint or "", processor)
        early, self._early = self._early, []
        for record, ended_at, parent in early:
            assert self._otel  # noqa: S101 - loads are kept for a collector alone
            self._otel.export(load_span(record), ended_at, parent)

    def begin(
        self, context: RequestContext, scheme: str, headers: Mapping[str, str]
    ) -> "ServerSpan | None":
        """Start the span of a request, as a child of the client's, and set it in *context*."""
        if self._otel is None:
            return None
        span = self._otel.begin(context, scheme, headers)
        context.trace = span.context or context.trace
        return span

    def end(self, span: "ServerSpan", context: RequestContext, record: RequestRecord) -> None:
        """End the span of a request, and export that of its model as a child."""
        assert self._otel  # noqa: S101 - it made the span
        if context.answer is not None and span.context is not None and span.context.sampled:
            below = answer_span(context.answer, context.operation)
            self._otel.export(below, context.answered_at, span.context)
        span.end(record, context.path, context.caller)

    def load(self, record: LoadRecord) -> None:
        """Export a load that has just ended, as a child of the request that started it."""
        context = current()
        parent = context.trace if context else None
        if self._otel is not None:
            self._otel.export(load_span(record), time.time_ns(), parent)
        elif self._endpoint is not None:
            self._early.append((record, time.time_ns(), parent))

    async def close(self) -> None:
        """Export the remaining spans; a collector that does not answer is not waited for long."""
        otel, self._otel = self._otel, None
        if otel is not None:
            # A daemon thread: the exporter may wait for ten seconds, and the process must exit.
            last = threading.Thread(target=otel.close, name="last spans", daemon=True)
            last.start()
            await to_thread(last.join, _EXPORT_GRACE)


def _made(endpoint: str, processor: "SpanProcessor | None") -> "Otel":
    from pilotlight.observability.otel import Otel, otlp_processor  # noqa: PLC0415

    return Otel(processor or otlp_processor(endpoint))


def _installed() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False
