"""Traces, where a collector is named; else nothing of OpenTelemetry is ever imported."""

import threading
import time
from asyncio import to_thread
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pilotlight.config import ConfigError
from pilotlight.metrics import LoadRecord, RequestRecord
from pilotlight.request_watch import RequestWatch, TraceContext, current
from pilotlight.spans import answer_span, load_span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

    from pilotlight.otel import Otel, ServerSpan

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
                f"--otlp-endpoint {endpoint}: OpenTelemetry is not installed; pilotlight[otel] has"
                " it"
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
    from pilotlight.otel import Otel, exporting_to  # noqa: PLC0415

    return Otel(processor or exporting_to(endpoint))


def _installed() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False
