"""The prompt cache in /metrics, by model and tier: memory, and the storage behind it."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pilotlight_backend import PromptCacheStats

if TYPE_CHECKING:
    from prometheus_client import Metric

_COUNTERS = (
    (
        "pilotlight_prompt_cache_hits",
        "Requests that started from a cached state, by where it was when they arrived.",
        {"memory": "memory_hits", "storage": "storage_hits"},
    ),
    (
        "pilotlight_prompt_cache_saved_tokens",
        "Prompt tokens that these requests did not evaluate.",
        {"memory": "memory_tokens", "storage": "storage_tokens"},
    ),
    (
        "pilotlight_prompt_cache_saves",
        "States saved: from a slot to memory, from memory to storage.",
        {"memory": "saves", "storage": "stored"},
    ),
    (
        "pilotlight_prompt_cache_restores",
        "States restored: from memory to a slot, from storage to memory.",
        {"memory": "restores", "storage": "storage_reads"},
    ),
    (
        "pilotlight_prompt_cache_evictions",
        "States deleted because of the limits.",
        {"memory": "evictions", "storage": "storage_evictions"},
    ),
    (
        "pilotlight_prompt_cache_errors",
        "Calls to the storage that failed.",
        {"storage": "storage_errors"},
    ),
)
_GAUGES = (
    (
        "pilotlight_prompt_cache_bytes",
        "Size of the states.",
        {"memory": "memory_bytes", "storage": "storage_bytes"},
    ),
    (
        "pilotlight_prompt_cache_entries",
        "Number of states.",
        {"memory": "memory_entries", "storage": "storage_entries"},
    ),
)


def prompt_cache_families(models: Mapping[str, PromptCacheStats]) -> Iterator["Metric"]:
    """Yield the families, with a series for each of *models* and each tier."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

    for kind, families in ((CounterMetricFamily, _COUNTERS), (GaugeMetricFamily, _GAUGES)):
        for name, text, fields in families:
            family = kind(name, text, labels=("model", "tier"))
            for model, stats in models.items():
                for tier, field in fields.items():
                    family.add_metric((model, tier), getattr(stats, field))
            yield family
