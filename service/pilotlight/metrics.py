"""What /metrics tells, in Prometheus' words.

What happened is noted as plain records and counted later: importing prometheus_client takes 20 ms
or more, most of it for an HTTP server of its own that nobody uses here, and a cold start has no
such time to give away. Everything runs on the event loop.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from pilotlight.receipt import Phases
from pilotlight_backend import EngineStats

if TYPE_CHECKING:
    from prometheus_client import Metric

_MANY = 256
"""Records that are kept before they are counted, scraped or not."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class AnswerRecord(Struct, frozen=True, kw_only=True):
    """One answer; times in seconds, None where it did not come that far."""

    model: str
    outcome: str
    """The finish reason, `cancelled`, or an error's code."""
    queue: float | None = None
    prefill: float | None = None
    first_token: float | None = None
    """From the request's arrival, a cold model's load included."""
    decode: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class LoadRecord(Struct, frozen=True, kw_only=True):
    """One load of a model, with the phases that it went through."""

    model: str
    backend: str
    outcome: str
    """`ready`, or an error's code."""
    phases: Phases


class Metrics:
    """Counts what it is told; *engines* gives each loaded model's name and snapshot."""

    def __init__(self, engines: Callable[[], Mapping[str, EngineStats]]) -> None:
        self._engines = engines
        self._waiting: list[AnswerRecord | LoadRecord] = []
        self._counted: _Families | None = None
        self.started_in: float | None = None
        """Seconds from exec until requests were taken."""

    def note(self, record: AnswerRecord | LoadRecord) -> None:
        """Take one record."""
        self._waiting.append(record)
        if len(self._waiting) >= _MANY:
            self._count()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Return every metric, and the content type of the format that *accept* asks for."""
        from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

        families = self._count()
        if self.started_in is not None:
            families.start.set(self.started_in)
        encode, content_type = choose_encoder(accept)
        return encode(families.registry), content_type

    def _count(self) -> "_Families":
        if self._counted is None:
            self._counted = _Families(self._engines)
        waiting, self._waiting = self._waiting, []
        for record in waiting:
            if isinstance(record, AnswerRecord):
                self._counted.answer(record)
            else:
                self._counted.load(record)
        return self._counted


class _Families:
    """The metrics themselves, in a registry of their own: two services may share a process."""

    def __init__(self, engines: Callable[[], Mapping[str, EngineStats]]) -> None:
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

        self.start = Gauge(
            "pilotlight_start_seconds",
            "Seconds from exec until requests were taken.",
            registry=self.registry,
        )
        self._answers = counter(
            "pilotlight_requests", "Requests by how they ended.", "model", "outcome"
        )
        self._first_token = histogram(
            "pilotlight_time_to_first_token_seconds",
            "From a request's arrival to its first token, a cold model's load included.",
            "model",
        )
        self._per_token = histogram(
            "pilotlight_time_per_output_token_seconds",
            "Mean time from token to token of an answer.",
            "model",
        )
        self._queue = histogram("pilotlight_queue_seconds", "Time waiting for a slot.", "model")
        self._prefill = histogram(
            "pilotlight_prefill_seconds", "From having a slot to the first token.", "model"
        )
        self._prompt_tokens = counter(
            "pilotlight_prompt_tokens", "Tokens of prompts, the cached ones included.", "model"
        )
        self._cached_tokens = counter(
            "pilotlight_cached_tokens", "Tokens of prompts that were not evaluated again.", "model"
        )
        self._completion_tokens = counter(
            "pilotlight_completion_tokens", "Tokens that were generated.", "model"
        )
        self._loads = counter(
            "pilotlight_loads", "Loads by how they ended.", "model", "backend", "outcome"
        )
        self._load_phases = histogram(
            "pilotlight_load_phase_seconds", "Phases of loads.", "model", "backend", "phase"
        )
        self.registry.register(_Engines(engines))
        ProcessCollector(registry=self.registry)

    def answer(self, record: AnswerRecord) -> None:
        self._answers.labels(record.model, record.outcome).inc()
        for histogram, seconds in (
            (self._queue, record.queue),
            (self._prefill, record.prefill),
            (self._first_token, record.first_token),
        ):
            if seconds is not None:
                histogram.labels(record.model).observe(seconds)
        if record.decode is not None and record.completion_tokens > 1:
            per_token = record.decode / (record.completion_tokens - 1)
            self._per_token.labels(record.model).observe(per_token)
        for counter, tokens in (
            (self._prompt_tokens, record.prompt_tokens),
            (self._cached_tokens, record.cached_tokens),
            (self._completion_tokens, record.completion_tokens),
        ):
            if tokens:
                counter.labels(record.model).inc(tokens)

    def load(self, record: LoadRecord) -> None:
        self._loads.labels(record.model, record.backend, record.outcome).inc()
        for phase, seconds in record.phases.items():
            self._load_phases.labels(record.model, record.backend, phase).observe(seconds)


class _Engines:
    """Reads each loaded engine when it is asked."""

    def __init__(self, engines: Callable[[], Mapping[str, EngineStats]]) -> None:
        self._engines = engines

    def collect(self) -> Iterator["Metric"]:
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

        snapshots = self._engines()
        for name, text, value in _GAUGES:
            family = GaugeMetricFamily(name, text, labels=("model",))
            for model, stats in snapshots.items():
                family.add_metric((model,), value(stats))
            yield family


_GAUGES: tuple[tuple[str, str, Callable[[EngineStats], Any]], ...] = (
    ("pilotlight_slots", "Requests that a model answers together.", lambda s: s.slots),
    ("pilotlight_slots_busy", "Slots that have a request.", lambda s: s.slots_busy),
    ("pilotlight_queued_requests", "Requests that wait for a slot.", lambda s: s.queued),
    ("pilotlight_kv_tokens", "Tokens in the KV cache.", lambda s: s.kv_tokens),
    ("pilotlight_kv_capacity_tokens", "Tokens that the KV cache holds.", lambda s: s.kv_capacity),
)
