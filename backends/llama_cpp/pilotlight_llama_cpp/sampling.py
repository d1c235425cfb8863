"""Sampling parameters as a chain of llama.cpp's samplers."""

import ctypes
import math
import secrets
from typing import Any

from pilotlight_backend import SamplingParams
from pilotlight_llama_cpp.model import Model

PENALTY_WINDOW = 64
"""Tokens that the penalties look back on, the prompt's end included: llama.cpp's own default."""

_SEEDS = 2**32 - 1  # the last 32-bit value is LLAMA_DEFAULT_SEED, which means "draw one"


class Sampler:
    """One request's chain: it carries the request's random state and what penalties look at."""

    __slots__ = ("_free", "chain")

    def __init__(self, model: Model, params: SamplingParams, prompt: tuple[int, ...]) -> None:
        lib = model.lib
        self._free = lib.llama_sampler_free
        settings = lib.llama_sampler_chain_default_params()
        settings.no_perf = True
        self.chain: Any = lib.llama_sampler_chain_init(settings)
        for stage in _stages(model, params):
            lib.llama_sampler_chain_add(self.chain, stage)
        if _penalizes(params):
            for token in prompt[-PENALTY_WINDOW:]:
                lib.llama_sampler_accept(self.chain, token)

    def close(self) -> None:
        """Free the chain; no-op the second time."""
        chain, self.chain = self.chain, None
        if chain:
            self._free(chain)


def _penalizes(params: SamplingParams) -> bool:
    return bool(params.presence_penalty or params.frequency_penalty or params.repeat_penalty != 1.0)


def _stages(model: Model, params: SamplingParams) -> list[Any]:
    """Return the stages that do something, in the order of llama.cpp's own server.

    Penalties see all logits, top_k comes before what sorts, temperature comes last.
    Source: common/sampling.cpp, `common_sampler_init`.
    """
    lib = model.lib
    stages = []
    bias = dict(params.logit_bias) | dict.fromkeys(model.suppressed, -math.inf)
    if bias:
        entries = (lib.llama_logit_bias * len(bias))(*bias.items())
        stages.append(lib.llama_sampler_init_logit_bias(model.vocabulary_size, len(bias), entries))
    if _penalizes(params):
        stages.append(
            lib.llama_sampler_init_penalties(
                model.vocabulary_size,
                PENALTY_WINDOW,
                params.repeat_penalty,
                params.frequency_penalty,
                params.presence_penalty,
            )
        )
    if params.temperature == 0:
        return [*stages, lib.llama_sampler_init_greedy()]
    if params.top_k:
        stages.append(lib.llama_sampler_init_top_k(params.top_k))
    if params.top_p < 1:
        stages.append(lib.llama_sampler_init_top_p(params.top_p, 1))
    if params.min_p > 0:
        stages.append(lib.llama_sampler_init_min_p(params.min_p, 1))
    if params.temperature != 1:
        stages.append(lib.llama_sampler_init_temp(params.temperature))
    seed = secrets.randbits(64) if params.seed is None else params.seed
    return [*stages, lib.llama_sampler_init_dist(ctypes.c_uint32(seed % _SEEDS))]
