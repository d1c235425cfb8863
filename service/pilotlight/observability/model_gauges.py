"""Gauges of each model: for dashboards, routers and autoscalers.

Every model has every gauge, 0 if it is not loaded: an autoscaler that divides by a series, or a
router that reads one, fails if the series is missing, and before the first load all would be.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from msgspec import Struct

from pilotlight.observability.prompt_cache_metrics import prompt_cache_families
from pilotlight.schema.models import ModelState
from pilotlight_backend import EngineStats, PromptCacheStats

if TYPE_CHECKING:
    from prometheus_client import Metric


class ModelSnapshot(Struct, frozen=True, kw_only=True):
    """The state of one model at one moment."""

    state: ModelState = "absent"
    progress: float = 0.0
    """Progress of its load, 0 to 1; 1 once ready."""
    held: int = 0
    """Requests that wait for its load."""
    queued: int = 0
    """Requests that wait for a slot, outside the engine."""
    stats: EngineStats | None = None
    """The statistics of its engine, if loaded."""

    prompt_cache: PromptCacheStats = PromptCacheStats()
    """Its prompt cache; the counts are of all its loads, so that they never fall."""

    @property
    def running(self) -> int:
        """Requests that have a slot."""
        return self.stats.slots_busy if self.stats else 0

    @property
    def waiting_for_slot(self) -> int:
        """Requests that wait for a slot, in the engine or before it."""
        return self.queued + (self.stats.queued if self.stats else 0)

    @property
    def waiting(self) -> int:
        """Requests that wait, for the load or for a slot."""
        return self.held + self.waiting_for_slot

    @property
    def busy(self) -> int:
        """Requests that run or wait, at least 1 during a load.

        Clients that were refused during the load retry later. The autoscaler does not see them
        meanwhile, and would remove the instance.
        """
        return max(self.running + self.waiting, int(self.state == "loading"))

    @property
    def kv_usage(self) -> float:
        """Share of the KV cache that running requests use, 0 to 1.

        What idle slots keep for reuse does not count: it makes room, and an idle server is no full
        one. vLLM counts the same way.
        """
        stats = self.stats
        return stats.kv_tokens_running / stats.kv_capacity if stats and stats.kv_capacity else 0.0


class AdapterSnapshot(Struct, frozen=True, kw_only=True):
    """The LoRA adapters of all models at one moment."""

    most: int = 0
    """How many may have requests that run at the same time."""
    running: Sequence[str] = ()
    waiting: Sequence[str] = ()


_Value = Callable[[ModelSnapshot], float]


def _stat(read: Callable[[EngineStats], float]) -> _Value:
    return lambda model: read(model.stats) if model.stats else 0


_GAUGES: tuple[tuple[str, str, _Value], ...] = (
    (
        "pilotlight_busy",
        "Requests that run or wait, at least 1 while the model loads.",
        lambda m: m.busy,
    ),
    (
        "pilotlight_requests_waiting",
        "Requests that wait, for the load or for a slot.",
        lambda m: m.waiting,
    ),
    (
        "pilotlight_queued_requests",
        "Requests that wait for a slot.",
        lambda m: m.waiting_for_slot,
    ),
    (
        "pilotlight_slots",
        "Requests that a model serves at the same time.",
        _stat(lambda s: s.slots),
    ),
    ("pilotlight_slots_busy", "Slots in use.", lambda m: m.running),
    ("pilotlight_kv_tokens", "Tokens in the KV cache.", _stat(lambda s: s.kv_tokens)),
    (
        "pilotlight_kv_capacity_tokens",
        "Capacity of the KV cache in tokens.",
        _stat(lambda s: s.kv_capacity),
    ),
    (
        "pilotlight_kv_usage_ratio",
        "Share of the KV cache that running requests use, 0 to 1.",
        lambda m: m.kv_usage,
    ),
    (
        "pilotlight_load_progress_ratio",
        "Progress of the load, 0 to 1; 1 once the model is ready.",
        lambda m: m.progress,
    ),
)
_VLLM_GAUGES: tuple[tuple[str, str, _Value], ...] = (
    (
        "vllm:num_requests_running",
        "The same as pilotlight_slots_busy.",
        lambda m: m.running,
    ),
    (
        "vllm:num_requests_waiting",
        "The same as pilotlight_requests_waiting.",
        lambda m: m.waiting,
    ),
    (
        "vllm:kv_cache_usage_perc",
        "The same as pilotlight_kv_usage_ratio.",
        lambda m: m.kv_usage,
    ),
)
"""What the endpoint picker of the Gateway API Inference Extension looks for where nothing else is
configured (its docs/proposals/003-model-server-protocol), with vLLM's label `model_name`. It looks
for `vllm:lora_requests_info` too."""

_VLLM_COUNTERS: tuple[tuple[str, str, _Value], ...] = (
    (
        "vllm:spec_decode_num_drafts",
        "Drafts of speculation that were verified.",
        _stat(lambda s: s.drafts),
    ),
    (
        "vllm:spec_decode_num_draft_tokens",
        "Tokens of these drafts.",
        _stat(lambda s: s.drafted_tokens),
    ),
    (
        "vllm:spec_decode_num_accepted_tokens",
        "Those of these tokens that are in a completion.",
        _stat(lambda s: s.accepted_tokens),
    ),
)
"""What vLLM counts of speculation (vllm/v1/spec_decode/metrics.py). They begin anew with a load."""


_IMAGES = (("encoded", "images_encoded"), ("reused", "images_reused"))


class ModelGauges:
    """A Prometheus collector that reads the models when it is scraped."""

    def __init__(
        self,
        models: Callable[[], Mapping[str, ModelSnapshot]],
        adapters: Callable[[], AdapterSnapshot] = AdapterSnapshot,
    ) -> None:
        self._models = models
        self._adapters = adapters

    def collect(self) -> Iterator["Metric"]:
        """Yield every gauge, and the counters of engines."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

        models = self._models()
        for kind, label, values in (
            (GaugeMetricFamily, "model", _GAUGES),
            (GaugeMetricFamily, "model_name", _VLLM_GAUGES),
            (CounterMetricFamily, "model_name", _VLLM_COUNTERS),
        ):
            for name, text, value in values:
                family = kind(name, text, labels=(label,))
                for model, snapshot in models.items():
                    family.add_metric((model,), value(snapshot))
                yield family
        yield self._lora_requests_info()
        images = CounterMetricFamily(
            "pilotlight_images",
            "Images in prompts since the load: encoded, or reused as they were encoded before.",
            labels=("model", "how"),
        )
        for model, snapshot in models.items():
            for how, field in _IMAGES:
                images.add_metric((model, how), getattr(snapshot.stats, field, 0))
        yield images
        yield from prompt_cache_families(
            {model: snapshot.prompt_cache for model, snapshot in models.items()}
        )
        family = GaugeMetricFamily(
            "pilotlight_model_state",
            "1 for the current state of a model, else 0.",
            labels=("model", "state"),
        )
        for model, snapshot in models.items():
            for state in get_args(ModelState):
                family.add_metric((model, state), state == snapshot.state)
        yield family
        held = sum(snapshot.held for snapshot in models.values())
        yield GaugeMetricFamily(
            "pilotlight_held_requests", "Requests that wait for a load.", value=held
        )

    def _lora_requests_info(self) -> "Metric":
        """Return vLLM's gauge: adapters are labels, and the value is the time of the scrape.

        A router reads the sample with the latest time (vLLM keeps the older ones).
        """
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415

        adapters = self._adapters()
        family = GaugeMetricFamily(
            "vllm:lora_requests_info",
            "LoRA adapters that have requests; the value is the time in seconds since 1970.",
            labels=("max_lora", "running_lora_adapters", "waiting_lora_adapters"),
        )
        names = (",".join(adapters.running), ",".join(adapters.waiting))
        family.add_metric((str(adapters.most), *names), time.time())
        return family
