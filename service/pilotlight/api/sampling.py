"""How tokens are drawn: what a request says, and what it means where it says nothing."""

from typing import Any

from pilotlight.schema.sampling import SamplingRequest
from pilotlight_backend import SamplingParams

TEMPERATURE, TOP_P, TOP_K = 1.0, 0.95, 64
"""What an omitted value means; one that is given is honoured, 0 included."""

_SEEDS = 2**32 - 1
"""Seeds are folded into 32 bits less one value: llama.cpp takes the last for "draw one"."""


def sampling_of(asked: SamplingRequest) -> SamplingParams:
    """Return how the tokens of *asked*'s answers are drawn."""
    return SamplingParams(
        temperature=_or(asked.temperature, TEMPERATURE),
        top_p=_or(asked.top_p, TOP_P),
        top_k=_or(asked.top_k, TOP_K),
        min_p=_or(asked.min_p, 0.0),
        presence_penalty=_or(asked.presence_penalty, 0.0),
        frequency_penalty=_or(asked.frequency_penalty, 0.0),
        logit_bias={int(token): bias for token, bias in (asked.logit_bias or {}).items()},
        seed=None if asked.seed is None else asked.seed % _SEEDS,
    )


def stops_of(asked: SamplingRequest) -> tuple[str, ...]:
    """Return the texts that end *asked*'s answers."""
    stop = asked.stop or ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
