"""Turn sampling parameters into a chain of llama.cpp's samplers."""

import ctypes
import math
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from pilotlight_backend import SamplingParams
from pilotlight_llama_cpp.model import LlamaModel

_SEEDS = 2**32 - 1  # the last 32-bit value is LLAMA_DEFAULT_SEED, which means "draw one"
_XTC_SEED = 0x9E3779B9
"""Added to the request's seed for XTC. Both stages draw from mt19937: with the same seed, XTC would
decide by numbers that have already chosen a token some steps before."""
_IMPOSSIBLE = 1e-30
"""Tokens below this share of the likeliest token's probability are removed."""
_MIROSTAT_TOKENS = 100
"""Tokens from which mirostat estimates the distribution, as in its paper and in llama.cpp."""
_KEPT_BREAKERS = 64
"""DRY's sequence breakers that stay prepared, those of all sets together; an empty set counts as
one. Of 152,000 tokens a single letter takes 1.1 MB and a default breaker 60 KB: 70 MB at most."""


class _Dry(NamedTuple):
    """The parameters of a DRY stage."""

    multiplier: float
    base: float
    allowed_length: int
    last_n: int
    breakers: tuple[str, ...]


class Sampler:
    """A request's sampler chain, with its random state and the tokens that it looks back on."""

    __slots__ = ("_free", "chain", "greedy_bias")

    def __init__(
        self,
        lib: Any,
        stages: list[Any],
        seen: tuple[int, ...],
        greedy_bias: Mapping[int, float] | None = None,
    ) -> None:
        """Own *stages*; *seen* are the prompt tokens that penalties look back on.

        *greedy_bias* is what is added to logits, if the chain takes the likeliest token behind it.
        """
        self.greedy_bias = greedy_bias
        self._free = lib.llama_sampler_free
        settings = lib.llama_sampler_chain_default_params()
        settings.no_perf = True
        self.chain: Any = lib.llama_sampler_chain_init(settings)
        for stage in stages:
            lib.llama_sampler_chain_add(self.chain, stage)
        for token in seen:
            lib.llama_sampler_accept(self.chain, token)

    def close(self) -> None:
        """Free the chain; no-op the second time."""
        chain, self.chain = self.chain, None
        if chain:
            self._free(chain)


class Samplers:
    """Makes the samplers of a model's requests, at once or on a thread of their own.

    DRY looks for each of its sequence breakers in every token of the vocabulary
    (`get_overlapping_token_sequences` in llama-sampler.cpp). With 152,000 tokens, the four default
    breakers take 40 to 135 ms and sixteen single letters 460 to 620 ms. Cloning a prepared stage
    takes 0.2 ms for the former and 95 to 160 ms for the latter, freeing it at most 10 ms. On the
    engine's thread this would delay every running stream, so a sampler with DRY is made beside it.
    """

    def __init__(self, model: LlamaModel, *, context_length: int) -> None:
        self._model = model
        self._context_length = context_length
        self._beside = ThreadPoolExecutor(
            1, "llama.cpp samplers"
        )  # starts no thread before its use
        self._dry: OrderedDict[_Dry, Any] = OrderedDict()
        """DRY's prepared stages, the least recently used first; for the thread beside alone."""

    def make_beside(
        self, params: SamplingParams, prompt: tuple[int, ...]
    ) -> "Future[Sampler] | None":
        """Begin to make a sampler on another thread; None where `make` takes no time."""
        return self._beside.submit(self.make, params, prompt) if params.dry_multiplier else None

    def make(self, params: SamplingParams, prompt: tuple[int, ...]) -> Sampler:
        """Return the sampler of a request; the caller closes it."""
        seen = self._window(params.repeat_last_n) if _penalizes(params) else 0
        if params.dry_multiplier:
            seen = max(seen, self._window(params.dry_penalty_last_n))
        is_greedy = not (params.temperature or params.dry_multiplier or _penalizes(params))
        return Sampler(
            self._model.lib,
            self._stages(params),
            prompt[-seen:] if seen else (),
            self._bias(params) if is_greedy else None,
        )

    def close(self) -> None:
        """Free what is kept, and wait for what is being made; no-op the second time."""
        self._beside.shutdown(cancel_futures=True)
        while self._dry:
            self._model.lib.llama_sampler_free(self._dry.popitem()[1])

    def _window(self, last_n: int) -> int:
        """Return *last_n* in tokens, at most the context: llama.cpp allocates them all."""
        return self._context_length if last_n < 0 else min(last_n, self._context_length)

    def _stages(self, params: SamplingParams) -> list[Any]:
        """Return the stages that are not neutral, in llama-server's order.

        Source: `common_sampler_init` in common/sampling.cpp, `samplers` in common/common.h. The
        stages on all logits also apply to mirostat and to greedy sampling.
        """
        lib = self._model.lib
        stages = self._on_all_logits(params)
        if params.temperature == 0:
            return [*stages, lib.llama_sampler_init_greedy()]
        seed = secrets.randbits(64) if params.seed is None else params.seed
        if params.mirostat:
            return [*stages, *self._mirostat(params, seed)]
        stages += self._filters(params, seed)
        if params.dynatemp_range:
            stages += [
                self._possible(),
                lib.llama_sampler_init_temp_ext(
                    params.temperature, params.dynatemp_range, params.dynatemp_exponent
                ),
            ]
        elif params.temperature != 1:
            stages.append(lib.llama_sampler_init_temp(params.temperature))
        return [*stages, lib.llama_sampler_init_dist(ctypes.c_uint32(seed % _SEEDS))]

    def _on_all_logits(self, params: SamplingParams) -> list[Any]:
        lib, size = self._model.lib, self._model.vocabulary_size
        stages = []
        bias = self._bias(params)
        if bias:
            entries = (lib.llama_logit_bias * len(bias))(*bias.items())
            stages.append(lib.llama_sampler_init_logit_bias(size, len(bias), entries))
        if _penalizes(params):
            stages.append(
                lib.llama_sampler_init_penalties(
                    size,
                    self._window(params.repeat_last_n),
                    params.repeat_penalty,
                    params.frequency_penalty,
                    params.presence_penalty,
                )
            )
        if params.dry_multiplier:
            stages.append(self._dry_stage(params))
        return stages

    def _bias(self, params: SamplingParams) -> dict[int, float]:
        return dict(params.logit_bias) | dict.fromkeys(self._model.suppressed, -math.inf)

    def _filters(self, params: SamplingParams, seed: int) -> list[Any]:
        lib = self._model.lib
        stages = []
        if params.top_n_sigma > 0:
            stages.append(lib.llama_sampler_init_top_n_sigma(params.top_n_sigma))
        if params.top_k:
            stages.append(lib.llama_sampler_init_top_k(params.top_k))
        if params.typical_p < 1:
            stages += [self._possible(), lib.llama_sampler_init_typical(params.typical_p, 1)]
        if params.top_p < 1:
            stages.append(lib.llama_sampler_init_top_p(params.top_p, 1))
        if params.min_p > 0:
            stages.append(lib.llama_sampler_init_min_p(params.min_p, 1))
        if params.xtc_probability:
            own = ctypes.c_uint32((seed + _XTC_SEED) % _SEEDS)
            stages.append(
                lib.llama_sampler_init_xtc(params.xtc_probability, params.xtc_threshold, 1, own)
            )
        return stages

    def _mirostat(self, params: SamplingParams, seed: int) -> list[Any]:
        lib = self._model.lib
        own = ctypes.c_uint32(seed % _SEEDS)
        tau, eta = params.mirostat_tau, params.mirostat_eta
        if params.mirostat == 1:
            size = self._model.vocabulary_size
            chooses = lib.llama_sampler_init_mirostat(size, own, tau, eta, _MIROSTAT_TOKENS)
        else:
            chooses = lib.llama_sampler_init_mirostat_v2(own, tau, eta)
        return [self._possible(), lib.llama_sampler_init_temp(params.temperature), chooses]

    def _possible(self) -> Any:
        """Return a stage that removes impossible tokens, for stages that compute an entropy.

        A token that a bias, a guide or top_n_sigma excludes has the probability 0, and `0 * log(0)`
        is NaN: the typical sampler would sort by it (`llama_sampler_typical_apply` in
        llama-sampler.cpp).
        """
        return self._model.lib.llama_sampler_init_min_p(_IMPOSSIBLE, 1)

    def _dry_stage(self, params: SamplingParams) -> Any:
        """Return DRY's stage: a clone of a prepared one, which is kept for the next request.

        llama.cpp has no way to give prepared breakers another multiplier, so each combination of
        DRY's parameters is prepared by itself.
        """
        key = _Dry(
            params.dry_multiplier,
            params.dry_base,
            params.dry_allowed_length,
            self._window(params.dry_penalty_last_n),
            params.dry_sequence_breakers,
        )
        if key not in self._dry:
            self._dry[key] = self._make_dry(key)
        self._dry.move_to_end(key)
        stage = self._model.lib.llama_sampler_clone(self._dry[key])
        while sum(max(1, len(kept.breakers)) for kept in self._dry) > _KEPT_BREAKERS:
            self._model.lib.llama_sampler_free(self._dry.popitem(last=False)[1])
        return stage

    def _make_dry(self, dry: _Dry) -> Any:
        breakers = [text.encode("utf-8", "replace") for text in dry.breakers]
        return self._model.lib.llama_sampler_init_dry(
            self._model.vocab,
            dry.multiplier,
            dry.base,
            dry.allowed_length,
            dry.last_n,
            (ctypes.c_char_p * len(breakers))(*breakers),
            len(breakers),
        )


def _penalizes(params: SamplingParams) -> bool:
    return bool(params.presence_penalty or params.frequency_penalty or params.repeat_penalty != 1.0)
