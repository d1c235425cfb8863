"""The metrics of `/metrics`, in the Prometheus format.

Events are kept as plain records and counted later, because importing prometheus_client takes 20 ms
or more, most of it for an HTTP server that is not used here, and would slow a cold start.
Everything runs on the event loop, except that import: it would delay every request.
"""

import threading
from collections.abc import Callable, Mapping
from typing import TypeAlias

from msgspec import Struct

from pilotlight import __version__
from pilotlight.observability.model_gauges import AdapterSnapshot, ModelGauges, ModelSnapshot
from pilotlight.observability.timing import Phases

_MANY = 256
"""Records after which the library is imported, even without a scrape."""
_FEW = 16
"""Records that are counted in one go afterwards: hundreds would delay a token that is due."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class AnswerRecord(Struct, frozen=True, kw_only=True):
    """One request to a model; times in seconds, None for phases that it did not reach."""

    model: str
    outcome: str
    """The finish reason, `cancelled`, or the code of an error."""
    queue: float | None = None
    restore: float | None = None
    """None also without a cached state that was restored."""
    prefill: float | None = None
    first_token: float | None = None
    """From the request's arrival, including the load of a cold model."""
    decode: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    inputs: int = 0
    """Embedded texts."""
    documents: int = 0
    """Ranked documents."""
    hold: float | None = None
    """Waiting for the model, if it was not ready."""
    submitted: float | None = None
    """From the request's arrival until it was submitted."""
    took: float | None = None
    """From the request's arrival until it ended, whatever the outcome."""


class RequestRecord(Struct, frozen=True, kw_only=True):
    """One HTTP request; *seconds* until its last byte, or until the client disconnected."""

    method: str
    """A method of HTTP, or `_OTHER`: clients can invent methods."""
    route: str | None
    """The template of the route; None for an unknown path."""
    status: int
    """As sent; 499 if the client disconnected before, as in nginx."""
    seconds: float
    error: str | None = None
    """The code of the error response, or of the error in a stream."""
    client_gone: bool = False


class LoadRecord(Struct, frozen=True, kw_only=True):
    """One load of a model, with its phases."""

    model: str
    backend: str
    outcome: str
    """`ready`, or the code of an error."""
    phases: Phases
    seconds: float = 0.0
    """From the decision to load until the model was ready, or had failed."""


Record: TypeAlias = AnswerRecord | RequestRecord | LoadRecord
OTHER = "_OTHER"
"""OpenTelemetry's value for unknown methods."""


class Metrics:
    """Counts records, and reads the state of the models when it is scraped."""

    def __init__(
        self,
        models: Callable[[], Mapping[str, ModelSnapshot]],
        adapters: Callable[[], AdapterSnapshot] = AdapterSnapshot,
    ) -> None:
        """*models* returns a snapshot of each known model by its name, *adapters* one of theirs."""
        self._gauges = ModelGauges(models, adapters)
        self._waiting: list[Record] = []
        self._counted: _Families | None = None
        self._importing: threading.Thread | None = None
        self.started_in: float | None = None
        """Seconds from exec until the server accepted requests."""

    def note(self, record: Record) -> None:
        """Add one record."""
        self._waiting.append(record)
        if len(self._waiting) < (_MANY if self._counted is None else _FEW):
            return
        if self._counted is None:
            if self._importing is None:
                self._importing = threading.Thread(
                    target=import_library, name="metrics", daemon=True
                )
                self._importing.start()
            if self._importing.is_alive():
                return
        self._count()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics, and their content type, in the format that *accept* prefers."""
        from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

        families = self._count()
        if self.started_in is not None:
            families.start.set(self.started_in)
        encode, content_type = choose_encoder(accept)
        return encode(families.registry), content_type

    def _count(self) -> "_Families":
        if self._counted is None:
            self._counted = _Families(self._gauges)
        waiting, self._waiting = self._waiting, []
        for record in waiting:
            match record:
                case AnswerRecord():
                    self._counted.answer(record)
                case RequestRecord():
                    self._counted.request(record)
                case LoadRecord():
                    self._counted.load(record)
        return self._counted


def import_library() -> None:
    """Import prometheus_client; call it on a thread, not on the event loop."""
    import prometheus_client  # noqa: F401, PLC0415


_TIMES = {
    "took": (
        "pilotlight_request_seconds",
        "From a request's arrival to its end, whatever the outcome.",
    ),
    "hold": ("pilotlight_hold_seconds", "Time waiting for a model that is not ready."),
    "queue": ("pilotlight_queue_seconds", "Time waiting for a slot."),
    "restore": (
        "pilotlight_restore_seconds",
        "Time to restore a cached prompt, reading it from storage included.",
    ),
    "prefill": ("pilotlight_prefill_seconds", "From getting a slot to the first token."),
    "first_token": (
        "pilotlight_time_to_first_token_seconds",
        "From a request's arrival to its first token, including the load of a cold model.",
    ),
    "decode": ("pilotlight_decode_seconds", "From the first token of an answer to its end."),
    "per_token": (
        "pilotlight_time_per_output_token_seconds",
        "Mean time between the tokens of an answer.",
    ),
}
"""Histograms by model, by the field of the record that each observes."""

_COUNTS = {
    "prompt_tokens": ("pilotlight_prompt_tokens", "Prompt tokens, including cached ones."),
    "cached_tokens": (
        "pilotlight_cached_tokens",
        "Prompt tokens that were found in the prompt cache.",
    ),
    "completion_tokens": ("pilotlight_completion_tokens", "Generated tokens."),
    "inputs": ("pilotlight_embedding_inputs", "Embedded texts."),
    "documents": ("pilotlight_rerank_documents", "Ranked documents."),
}
"""Counters by model, by the field of the record that each adds."""


class _Families:
    """The metric families, in a registry of their own: two services may share a process."""

    def __init__(self, gauges: ModelGauges) -> None:
        from prometheus_client import (  # noqa: PLC0415
            CollectorRegistry,
            Counter,
            Gauge,
            Histogram,
            ProcessCollector,
        )

        self.registry = CollectorRegistry()

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(name, text, labels, registry=self.registry, buckets=_SECONDS)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=self.registry)

        self.start = gauge(
            "pilotlight_start_seconds", "Seconds from exec until the server accepted requests."
        )
        build = gauge("pilotlight_build_info", "This server's version.", "version")
        build.labels(__version__).set(1)
        self._duration = histogram(
            "pilotlight_http_request_duration_seconds",
            "HTTP requests, from arrival to the last byte of the response.",
            *("method", "route", "status"),
        )
        self._errors = counter("pilotlight_errors", "Error responses.", "route", "code")
        self._answers = counter("pilotlight_requests", "Requests by outcome.", "model", "outcome")
        self._times = {key: histogram(*named, "model") for key, named in _TIMES.items()}
        self._counts = {key: counter(*named, "model") for key, named in _COUNTS.items()}
        self._loads = counter(
            "pilotlight_loads", "Loads by outcome.", "model", "backend", "outcome"
        )
        self._load_phases = histogram(
            "pilotlight_load_phase_seconds",
            "Seconds of the phases of loads.",
            "model",
            "backend",
            "phase",
        )
        self.registry.register(gauges)
        ProcessCollector(registry=self.registry)

    def answer(self, record: AnswerRecord) -> None:
        self._answers.labels(record.model, record.outcome).inc()
        for key, seconds in _times(record).items():
            if seconds is not None:
                self._times[key].labels(record.model).observe(seconds)
        for key, counter in self._counts.items():
            # A count of 0 makes no series: an embedding model generates no tokens.
            if count := getattr(record, key):
                counter.labels(record.model).inc(count)

    def request(self, record: RequestRecord) -> None:
        route = record.route or OTHER
        self._duration.labels(record.method, route, record.status).observe(record.seconds)
        if record.error is not None:
            self._errors.labels(route, record.error).inc()

    def load(self, record: LoadRecord) -> None:
        self._loads.labels(record.model, record.backend, record.outcome).inc()
        for phase, seconds in record.phases.items():
            self._load_phases.labels(record.model, record.backend, phase).observe(seconds)


def _times(record: AnswerRecord) -> dict[str, float | None]:
    # A time between tokens needs two tokens.
    between = record.completion_tokens - 1
    decode = record.decode if between > 0 else None
    return {
        "took": record.took,
        "hold": record.hold,
        "queue": record.queue,
        "restore": record.restore,
        "prefill": record.prefill,
        "first_token": record.first_token,
        "decode": decode,
        "per_token": None if decode is None else decode / between,
    }
