"""Spans as OpenTelemetry makes and sends them. Imported where traces are told, and never else."""

from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pilotlight import __version__
from pilotlight.observability.metrics import OTHER, RequestRecord
from pilotlight.observability.request_watch import RequestWatch, TraceContext
from pilotlight.observability.traces import Span, request_attributes, request_error

_SECOND = 1_000_000_000
_w3c = TraceContextTextMapPropagator()


def exporting_to(endpoint: str) -> SpanProcessor:
    """Return what sends spans to the collector at *endpoint*, in batches, on a thread of its own.

    `OTEL_EXPORTER_OTLP_HEADERS`, `…_TIMEOUT`, `…_COMPRESSION` and the like hold as ever.
    """
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces"))


class Otel:
    """Makes spans and gives them to a processor. Nothing of it is global."""

    def __init__(self, processor: SpanProcessor) -> None:
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("pilotlight", __version__)

    def begin(self, watch: RequestWatch, scheme: str, headers: Mapping[str, str]) -> "ServerSpan":
        """Begin the span of an HTTP request, below the one that its `traceparent` names."""
        name = "HTTP" if watch.method == OTHER else watch.method
        return ServerSpan(
            self._tracer.start_span(
                name,
                context=_w3c.extract(headers, Context()),
                kind=SpanKind.SERVER,
                attributes={
                    "http.request.method": watch.method,
                    "url.scheme": scheme,
                    "url.path": watch.path,
                    "pilotlight.request_id": watch.id,
                },
            ),
            name,
        )

    def tell(self, span: Span, ended_at: int, parent: TraceContext | None) -> None:
        """Tell of *span*, which ended at *ended_at* in nanoseconds of the epoch, below *parent*."""
        self._tell(span, ended_at - round(span.end * _SECOND), _below(parent))

    def _tell(self, span: Span, origin: int, context: Context) -> None:
        told = self._tracer.start_span(
            span.name,
            context=context,
            kind=SpanKind.INTERNAL,
            attributes=span.attributes,
            start_time=origin + round(span.start * _SECOND),
        )
        if span.error is not None:
            _fail(told, span.error)
        for child in span.children:
            self._tell(child, origin, trace.set_span_in_context(told, Context()))
        told.end(origin + round(span.end * _SECOND))

    def close(self) -> None:
        """Send what is left; blocks."""
        self._provider.shutdown()


class ServerSpan:
    """The span of one HTTP request, until it has ended."""

    def __init__(self, span: trace.Span, method: str) -> None:
        self._span = span
        self._method = method
        made = span.get_span_context()
        self.context = (
            TraceContext(
                trace.format_trace_id(made.trace_id),
                trace.format_span_id(made.span_id),
                made.trace_flags.sampled,
            )
            if made.is_valid
            else None
        )
        """None where `OTEL_SDK_DISABLED` makes spans that are none."""

    def end(self, record: RequestRecord, path: str, caller: str | None) -> None:
        """Add what is known now, and end it."""
        if record.route is not None:
            self._span.update_name(f"{self._method} {record.route}")
        self._span.set_attributes({**request_attributes(record), "url.path": path})
        if caller is not None:
            self._span.set_attribute("pilotlight.caller", caller)
        if (error := request_error(record)) is not None:
            _fail(self._span, error)
        self._span.end()


def _fail(span: trace.Span, error: str) -> None:
    span.set_attribute("error.type", error)
    span.set_status(Status(StatusCode.ERROR))


def _below(parent: TraceContext | None) -> Context:
    if parent is None or parent.span_id is None:
        return Context()
    context = SpanContext(
        trace_id=int(parent.trace_id, 16),
        span_id=int(parent.span_id, 16),
        is_remote=False,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED if parent.sampled else 0),
    )
    return trace.set_span_in_context(NonRecordingSpan(context), Context())


def _resource() -> Resource:
    """Return who tells: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, else Pilotlight."""
    named = Resource.create({SERVICE_VERSION: __version__})
    if str(named.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return named.merge(Resource({SERVICE_NAME: "pilotlight"}))
    return named
