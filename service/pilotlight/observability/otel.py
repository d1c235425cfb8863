"""Create and export spans with OpenTelemetry. Imported only if traces are enabled."""

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
from pilotlight.observability.request_context import RequestContext, TraceContext
from pilotlight.observability.traces import Span, request_attributes, request_error

_SECOND = 1_000_000_000
_w3c = TraceContextTextMapPropagator()


def otlp_processor(endpoint: str) -> SpanProcessor:
    """Return a processor that exports spans to *endpoint* in batches, on a thread of its own.

    `OTEL_EXPORTER_OTLP_HEADERS`, `…_TIMEOUT`, `…_COMPRESSION` and so on apply as usual.
    """
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces"))


class Otel:
    """Creates spans for a processor, without any global state."""

    def __init__(self, processor: SpanProcessor) -> None:
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("pilotlight", __version__)

    def begin(
        self, context: RequestContext, scheme: str, headers: Mapping[str, str]
    ) -> "ServerSpan":
        """Start the span of an HTTP request, as a child of its `traceparent`."""
        name = "HTTP" if context.method == OTHER else context.method
        return ServerSpan(
            self._tracer.start_span(
                name,
                context=_w3c.extract(headers, Context()),
                kind=SpanKind.SERVER,
                attributes={
                    "http.request.method": context.method,
                    "url.scheme": scheme,
                    "url.path": context.path,
                    "pilotlight.request_id": context.id,
                },
            ),
            name,
        )

    def export(self, span: Span, ended_at: int, parent: TraceContext | None) -> None:
        """Export *span*, which ended at *ended_at* in nanoseconds of the epoch, below *parent*."""
        self._export(span, ended_at - round(span.end * _SECOND), _below(parent))

    def _export(self, span: Span, origin: int, context: Context) -> None:
        made = self._tracer.start_span(
            span.name,
            context=context,
            kind=SpanKind.INTERNAL,
            attributes=span.attributes,
            start_time=origin + round(span.start * _SECOND),
        )
        if span.error is not None:
            _fail(made, span.error)
        for child in span.children:
            self._export(child, origin, trace.set_span_in_context(made, Context()))
        made.end(origin + round(span.end * _SECOND))

    def close(self) -> None:
        """Export the remaining spans; blocks."""
        self._provider.shutdown()


class ServerSpan:
    """The open span of one HTTP request."""

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
        """None if `OTEL_SDK_DISABLED` is set: its spans are not valid."""

    def end(self, record: RequestRecord, path: str, caller: str | None) -> None:
        """Add the attributes of the response, and end the span."""
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
    """Return the resource: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, else Pilotlight."""
    named = Resource.create({SERVICE_VERSION: __version__})
    if str(named.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return named.merge(Resource({SERVICE_NAME: "pilotlight"}))
    return named
