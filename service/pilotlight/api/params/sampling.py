"""How tokens are drawn: what a request says, and what it means where it says nothing."""

from typing import Any

from pilotlight.errors import InvalidRequest
from pilotlight.schema.sampling import SamplingRequest
from pilotlight.schema.support import ACCEPTED, ONLY, SAMPLING
from pilotlight_backend import SamplingParams

TEMPERATURE, TOP_P, TOP_K = 1.0, 0.95, 64
"""What an omitted value means; one that is given is honoured, 0 included."""

_AS_NAMED = (
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


def sampling_of(asked: SamplingRequest) -> SamplingParams:
    """Return how the tokens of *asked*'s answers are drawn; raises `InvalidRequest`."""
    _check_switches(asked)
    given = {name: getattr(asked, name) for name in _AS_NAMED}
    if asked.dry_sequence_breakers is not None:
        given["dry_sequence_breakers"] = tuple(asked.dry_sequence_breakers)
    return SamplingParams(
        temperature=_or(asked.temperature, TEMPERATURE),
        top_p=_or(asked.top_p, TOP_P),
        top_k=max(_or(asked.top_k, TOP_K), 0),
        repeat_penalty=_or(_repeat_penalty(asked), 1.0),
        logit_bias={int(token): bias for token, bias in (asked.logit_bias or {}).items()},
        seed=None if asked.seed is None else asked.seed % _SEEDS,
        **{name: value for name, value in given.items() if value is not None},
    )


def _check_switches(asked: SamplingRequest) -> None:
    """Raise `InvalidRequest` for a switch that is turned, where the server knows one value."""
    for name, meta in SAMPLING.items():
        extra = meta.extra or {}
        if ONLY in extra and getattr(asked, name) not in (None, extra[ONLY]):
            raise InvalidRequest(f"{name}: {extra[ACCEPTED]}; leave it out", param=name)


def _repeat_penalty(asked: SamplingRequest) -> float | None:
    ours, theirs = asked.repeat_penalty, asked.repetition_penalty
    if ours is not None and theirs is not None and ours != theirs:
        param = "repetition_penalty"
        raise InvalidRequest(
            f"{param}: expected {ours:g}, like repeat_penalty, its other name; send one of them",
            param=param,
        )
    return theirs if ours is None else ours


def stops_of(asked: SamplingRequest) -> tuple[str, ...]:
    """Return the texts that end *asked*'s answers."""
    stop = asked.stop or ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
