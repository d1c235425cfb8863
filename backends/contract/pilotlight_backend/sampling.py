"""The stages of sampling in numpy, in llama.cpp's order.

For backends whose library lacks some of them. ONNX Runtime GenAI has no min_p, no logit_bias and
one penalty only, and hardly filters with `top_k=0` and `top_p<1`.
"""

import math
import secrets
from collections import Counter, deque

import numpy as np
from numpy.typing import NDArray

from pilotlight_backend import InferenceFailed, SamplingParams
from pilotlight_backend.logits import Logits, Tokens, largest

SUPPORTED = frozenset(SamplingParams.__struct_fields__) - {
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
}
"""The fields that `SamplerChain` honours. Only llama.cpp has Mirostat and DRY."""

_HALF, _TWO = 0.5, 2
_COLD = 1e-6
"""The lowest divisor for a temperature: it leaves only the likeliest token."""
_MANY = 1024
"""Candidates to sort first where top_p alone limits their number."""


class SamplerChain:
    """Samples one request's tokens; keeps its random state and the recent tokens for penalties."""

    def __init__(
        self, params: SamplingParams, prompt: tuple[int, ...], *, context_length: int
    ) -> None:
        self._params = params
        self._bias = list(params.logit_bias.items())
        self._penalizes = bool(
            params.presence_penalty or params.frequency_penalty or params.repeat_penalty != 1.0
        )
        window = params.repeat_last_n if params.repeat_last_n >= 0 else context_length
        self._recent = deque(prompt, maxlen=window)
        seed = secrets.randbits(64) if params.seed is None else params.seed % 2**64
        self._random = np.random.Generator(np.random.PCG64(seed))

    def sample(self, logits: Logits) -> int:
        """Return the next token and change *logits*. Raises `InferenceFailed` unless finite."""
        for token, bias in self._bias:
            logits[token] += bias
        if self._penalizes:
            self._penalize(logits)
        best = int(np.argmax(logits))
        if not np.isfinite(logits[best]):
            raise InferenceFailed("the model's logits are not finite")
        token = best if self._params.temperature == 0 else self._draw(logits, logits[best])
        self.accept(token)
        return token

    def accept(self, token: int) -> None:
        """Record a *token* of the sequence, for penalties; `sample` records its own."""
        self._recent.append(token)

    def _penalize(self, logits: Logits) -> None:
        params = self._params
        for token, count in Counter(self._recent).items():
            logit = logits[token]
            scaled = logit * params.repeat_penalty if logit <= 0 else logit / params.repeat_penalty
            logits[token] = scaled - count * params.frequency_penalty - params.presence_penalty

    def _draw(self, logits: Logits, peak: np.float32) -> int:
        tokens = self._without_top_choices(self._kept(logits, peak), logits)
        scores = (logits[tokens] - logits[tokens].max()).astype(np.float64)
        with np.errstate(over="ignore"):  # a temperature near 0 overflows all but the best
            weights = np.exp(scores / self._temperature(scores))
        sums = np.cumsum(weights)
        drawn = np.searchsorted(sums, self._random.random() * sums[-1], side="right")
        return int(tokens[min(drawn, len(tokens) - 1)])

    def _kept(self, logits: Logits, peak: np.float32) -> Tokens:
        """Return the tokens that the filters leave, likeliest first under top_k or top_p."""
        params = self._params
        if params.top_n_sigma > 0:
            finite = logits[np.isfinite(logits)]
            logits[logits < peak - params.top_n_sigma * finite.std(dtype=np.float64)] = -np.inf
        if params.top_k or params.typical_p < 1:
            tokens = largest(logits, params.top_k) if params.top_k else np.arange(logits.size)
            tokens = self._typical(tokens, logits, peak)
            if params.top_p < 1:
                weights = np.exp(logits[tokens] - peak, dtype=np.float64)
                tokens = tokens[: _nucleus(weights, params.top_p * weights.sum())]
        elif params.top_p < 1:
            tokens = self._top_p(logits, peak)
        else:
            tokens = np.arange(logits.size)
        if params.min_p > 0:
            tokens = tokens[logits[tokens] >= peak + np.log(params.min_p)]
        return tokens

    def _typical(self, tokens: Tokens, logits: Logits, peak: np.float32) -> Tokens:
        """Return those of *tokens* whose surprise is nearest to the expected one, likeliest first.

        Source: Meister et al., Locally Typical Sampling; and llama-sampler.cpp, typical_apply.
        """
        if self._params.typical_p >= 1:
            return tokens
        scores = (logits[tokens] - peak).astype(np.float64)
        tokens, scores = tokens[np.isfinite(scores)], scores[np.isfinite(scores)]
        surprise = np.log(np.exp(scores).sum()) - scores
        shares = np.exp(-surprise)
        nearest = np.argsort(np.abs(surprise - (shares * surprise).sum()), kind="stable")
        enough = np.searchsorted(np.cumsum(shares[nearest]), self._params.typical_p, side="right")
        kept = nearest[: enough + 1]
        return tokens[kept[np.argsort(-scores[kept], kind="stable")]]

    def _without_top_choices(self, tokens: Tokens, logits: Logits) -> Tokens:
        """Exclude top choices with a probability (XTC): the least likely of them stays.

        Source: llama-sampler.cpp, xtc_apply.
        """
        params = self._params
        if not params.xtc_probability or params.xtc_threshold > _HALF or len(tokens) < _TWO:
            return tokens
        if self._random.random() > params.xtc_probability:
            return tokens
        tokens = tokens[np.argsort(-logits[tokens], kind="stable")]
        weights = np.exp(logits[tokens] - logits[tokens[0]], dtype=np.float64)
        top = int((weights / weights.sum() >= params.xtc_threshold).sum())
        return tokens[max(top - 1, 0) :]

    def _temperature(self, scores: NDArray[np.float64]) -> float:
        """Return the temperature, for *scores* by their entropy where it is dynamic.

        Source: Zhu et al., Hot or Cold?; and llama-sampler.cpp, temp_ext_apply.
        """
        params = self._params
        finite = scores[np.isfinite(scores)]
        if not params.dynatemp_range or len(finite) < _TWO:
            return params.temperature
        shares = np.exp(finite)
        shares = shares[shares > 0] / shares.sum()
        entropy = -float((shares * np.log(shares)).sum()) / math.log(len(finite))
        least = max(0.0, params.temperature - params.dynatemp_range)
        most = params.temperature + params.dynatemp_range
        share = math.pow(entropy, params.dynatemp_exponent)
        return max(least + (most - least) * share, _COLD)

    def _top_p(self, logits: Logits, peak: np.float32) -> Tokens:
        mass = self._params.top_p * np.exp(logits - peak, dtype=np.float64).sum()
        for count in (_MANY, logits.size):
            tokens = largest(logits, count)
            weights = np.exp(logits[tokens] - peak, dtype=np.float64)
            if weights.sum() >= mass:
                break
        return tokens[: _nucleus(weights, mass)]


def _nucleus(weights: NDArray[np.float64], mass: float) -> int:
    """Return how many of the falling *weights* it takes to reach *mass*, one at least."""
    return int(np.searchsorted(np.cumsum(weights), mass)) + 1
