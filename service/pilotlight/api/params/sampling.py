"""Sampling parameters of a request, with defaults for omitted fields."""

from typing import Any

from pilotlight.errors import InvalidRequest
from pilotlight.scheduling.lease import WantedAdapter
from pilotlight.schema.sampling import SampledRequest, SamplingRequest
from pilotlight.schema.support import ACCEPTED, ONLY, SAMPLING
from pilotlight_backend import SamplingParams

_DEFAULTS: dict[str, Any] = {"temperature": 1.0, "top_p": 0.95, "top_k": 64}
"""Defaults of omitted fields; 0 is a value."""

_AS_NAMED = (
    "temperature",
    "top_p",
    "min_p",
    "top_n_sigma",
    "typical_p",
    "xtc_probability",
    "xtc_threshold",
    "dynatemp_range",
    "dynatemp_exponent",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "presence_penalty",
    "frequency_penalty",
    "repeat_last_n",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
)
"""Fields that the contract calls the same, and whose defaults are its own: off, or llama.cpp's."""

_SEEDS = 2**32 - 1
"""Seeds are folded into 32 bits less one value: llama.cpp takes the last for "draw one"."""


def sampling_of(asked: SampledRequest) -> SamplingParams:
    """Return the sampling parameters of *asked*; raises `InvalidRequest`."""
    given = {name: getattr(asked, name, None) for name in _AS_NAMED}
    if isinstance(asked, SamplingRequest):
        given |= _more(asked)
    if asked.top_k is not None:
        given["top_k"] = max(asked.top_k, 0)
    return SamplingParams(
        **_DEFAULTS | {name: value for name, value in given.items() if value is not None}
    )


def _more(asked: SamplingRequest) -> dict[str, Any]:
    """Return the fields of chat and text completions that the contract names otherwise."""
    _check_switches(asked)
    breakers = asked.dry_sequence_breakers
    return {
        "repeat_penalty": _repeat_penalty(asked),
        "logit_bias": {int(token): bias for token, bias in (asked.logit_bias or {}).items()},
        "seed": None if asked.seed is None else asked.seed % _SEEDS,
        "dry_sequence_breakers": None if breakers is None else tuple(breakers),
    }


def _check_switches(asked: SamplingRequest) -> None:
    """Raise `InvalidRequest` for a switch whose other value the server does not support."""
    for name, meta in SAMPLING.items():
        extra = meta.extra or {}
        if ONLY in extra and getattr(asked, name) not in (None, extra[ONLY]):
            only = "true" if extra[ONLY] else "false"
            raise InvalidRequest(f"{name}: expected {only}; {extra[ACCEPTED]}", param=name)


def _repeat_penalty(asked: SamplingRequest) -> float | None:
    ours, theirs = asked.repeat_penalty, asked.repetition_penalty
    if ours is not None and theirs is not None and ours != theirs:
        param = "repetition_penalty"
        raise InvalidRequest(
            f"{param}: expected {ours:g}, like repeat_penalty, its other name; send one of them",
            param=param,
        )
    return theirs if ours is None else ours


def lora_of(asked: SamplingRequest) -> tuple[WantedAdapter, ...] | None:
    """Return the adapters that *asked* names; raises `InvalidRequest` for one that it names twice.

    None leaves them to the model's name.
    """
    if asked.lora is None:
        return None
    ids = [one.id for one in asked.lora]
    for index, number in enumerate(ids):
        if number in ids[:index]:
            field = f"lora[{index}].id"
            raise InvalidRequest(f"{field}: the adapter {number} is given twice", param=field)
    return tuple(WantedAdapter(one.id, one.scale) for one in asked.lora)


def stops_of(asked: SamplingRequest) -> tuple[str, ...]:
    """Return the stop texts of *asked*."""
    stop = asked.stop or ()
    return (stop,) if isinstance(stop, str) else tuple(stop)
