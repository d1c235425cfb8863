"""Spans of requests and loads, sent to an OpenTelemetry collector where one is configured.

Names and attributes follow OpenTelemetry's semantic conventions for generative AI, as far as they
have one; what they have no name for begins with `pilotlight.`. No attribute holds what a client
wrote.
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
from pilotlight.observability.request_watch import RequestWatch, TraceContext, current

Attributes: TypeAlias = Mapping[str, str | bool | int | float | Sequence[str]]

_PROVIDER = "pilotlight"
_OPERATIONS = {
    "chat": "chat",
    "messages": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "tokens": "tokenize",
}
"""What the conventions call an endpoint, by its tag; they have no name for the last."""
_FINISHES = frozenset(("stop", "length", "tool_calls"))
_NO_ERRORS = _FINISHES | {"cancelled", "tokenized"}
_SERVER_ERRORS = 500


class Span(Struct, frozen=True, kw_only=True):
    """A span inside of a request or a load; seconds count from where the outermost begins."""

    name: str
    start: float
    end: float
    attributes: Attributes = {}
    error: str | None = None
    """What it failed with."""
    children: "Sequence[Span]" = ()


def request_attributes(record: RequestRecord) -> Attributes:
    """Return what the end of a request adds to its server span."""
    attributes: dict[str, str | int | bool] = {"http.response.status_code": record.status}
    if record.route is not None:
        attributes["http.route"] = record.route
    if record.client_gone:
        attributes["pilotlight.client_gone"] = True
    return attributes


def request_error(record: RequestRecord) -> str | None:
    """Return what the server failed with; what the client did wrong is no error of the server's.

    A stream that breaks has sent its 200 before.
    """
    if record.status >= _SERVER_ERRORS:
        return record.error or str(record.status)
    return record.error if record.status == 200 else None  # noqa: PLR2004 - HTTP's own


def answer_span(record: AnswerRecord, tag: str | None) -> Span:
    """Return the span of what a model did for one request to an endpoint with *tag*."""
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
        attributes["pilotlight.generation.embedding.inputs"] = record.inputs
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
    """Return the phases that a request came to; the last of one that was cut short ends with it."""
    phases = [] if record.hold is None else [("hold", 0.0, record.hold)]
    at = record.submitted
    for name, seconds in (
        ("queue", record.queue),
        ("prefill", record.prefill),
        ("decode", record.decode),
    ):
        if at is None or (name == "decode" and not _decodes(record)):
            break
        end = took if seconds is None else at + seconds
        phases.append((name, at, end))
        at = None if seconds is None else end
    return phases


def _decodes(record: AnswerRecord) -> bool:
    """Tell whether tokens were generated: embeddings end with their prefill."""
    return record.completion_tokens > 0 or record.decode is None


def load_span(record: LoadRecord) -> Span:
    """Return the span of a load; its phases but for the fetch follow each other to its end."""
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

_LAST_WORDS = 2.0
"""Seconds in which a process that ends can still send its last spans."""


class Traces:
    """Tells a collector what became of requests and loads.

    Spans are made of what was noted anyway, when it is over: nothing is done for a token. Used on
    one loop.
    """

    def __init__(self, endpoint: str | None) -> None:
        """*endpoint* is the collector's address; None tells nobody.

        Raises `ConfigError` where OpenTelemetry is not installed.
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
        """Begin to tell; *processor* gets the spans instead of the collector.

        OpenTelemetry is imported on a thread, for that takes long and models load meanwhile.
        Without a collector, and without *processor*, nothing is done.
        """
        if processor is not None or self._endpoint is not None:
            self._otel = await to_thread(_made, self._endpoint or "", processor)
        early, self._early = self._early, []
        for record, ended_at, parent in early:
            assert self._otel  # noqa: S101 - loads are kept for a collector alone
            self._otel.tell(load_span(record), ended_at, parent)

    def begin(
        self, watch: RequestWatch, scheme: str, headers: Mapping[str, str]
    ) -> "ServerSpan | None":
        """Begin a request's span, below the one that the client names, and let *watch* know it."""
        if self._otel is None:
            return None
        span = self._otel.begin(watch, scheme, headers)
        watch.trace = span.context or watch.trace
        return span

    def end(self, span: "ServerSpan", watch: RequestWatch, record: RequestRecord) -> None:
        """End a request's span; what a model did for it lies below."""
        assert self._otel  # noqa: S101 - it made the span
        if watch.answer is not None and span.context is not None and span.context.sampled:
            below = answer_span(watch.answer, watch.operation)
            self._otel.tell(below, watch.answered_at, span.context)
        span.end(record, watch.path, watch.caller)

    def load(self, record: LoadRecord) -> None:
        """Tell of a load that has just ended; it lies below the request that began it."""
        watch = current()
        parent = watch.trace if watch else None
        if self._otel is not None:
            self._otel.tell(load_span(record), time.time_ns(), parent)
        elif self._endpoint is not None:
            self._early.append((record, time.time_ns(), parent))

    async def close(self) -> None:
        """Send what is left, and tell nothing more; a collector that does not answer is left."""
        otel, self._otel = self._otel, None
        if otel is not None:
            # A daemon: the exporter may wait for ten seconds, and the process must end.
            last = threading.Thread(target=otel.close, name="last spans", daemon=True)
            last.start()
            await to_thread(last.join, _LAST_WORDS)


def _made(endpoint: str, processor: "SpanProcessor | None") -> "Otel":
    from pilotlight.observability.otel import Otel, exporting_to  # noqa: PLC0415

    return Otel(processor or exporting_to(endpoint))


def _installed() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False
