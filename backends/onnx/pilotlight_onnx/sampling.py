"""Sampling parameters on logits, in numpy: the same stages in the same order as in llama.cpp.

The library samples too, but knows no min_p, no logit_bias, no penalty but one, and filters hardly
at all with `top_k=0` and `top_p<1`. One way for every request is also one to get right.
"""

import secrets
from collections import Counter, deque

import numpy as np
from numpy.typing import NDArray

from pilotlight_backend import InferenceFailed, SamplingParams
from pilotlight_backend.logits import Logits, Tokens, largest

PENALTY_WINDOW = 64
"""Tokens that the penalties look back on, the prompt's end included; llama.cpp's default."""

_MANY = 1024
"""Candidates that are looked at first where only top_p says how many count."""


class Sampler:
    """One request's choices: it carries the request's random state and what penalties look at."""

    def __init__(self, params: SamplingParams, prompt: tuple[int, ...]) -> None:
        self._params = params
        self._bias = list(params.logit_bias.items())
        self._penalizes = bool(
            params.presence_penalty or params.frequency_penalty or params.repeat_penalty != 1.0
        )
        self._recent = deque(prompt[-PENALTY_WINDOW:], maxlen=PENALTY_WINDOW)
        seed = secrets.randbits(64) if params.seed is None else params.seed % 2**64
        self._random = np.random.Generator(np.random.PCG64(seed))

    def sample(self, logits: Logits) -> int:
        """Choose the next token; *logits* are changed. Raises `InferenceFailed` for no numbers."""
        for token, bias in self._bias:
            logits[token] += bias
        if self._penalizes:
            self._penalize(logits)
        best = int(np.argmax(logits))
        if not np.isfinite(logits[best]):
            raise InferenceFailed("the model's logits are no numbers")
        token = best if self._params.temperature == 0 else self._draw(logits, logits[best])
        self._recent.append(token)
        return token

    def _penalize(self, logits: Logits) -> None:
        params = self._params
        for token, count in Counter(self._recent).items():
            logit = logits[token]
            scaled = logit * params.repeat_penalty if logit <= 0 else logit / params.repeat_penalty
            logits[token] = scaled - count * params.frequency_penalty - params.presence_penalty

    def _draw(self, logits: Logits, peak: np.float32) -> int:
        tokens = self._kept(logits, peak)
        weights = np.exp((logits[tokens] - peak).astype(np.float64) / self._params.temperature)
        sums = np.cumsum(weights)
        drawn = np.searchsorted(sums, self._random.random() * sums[-1], side="right")
        return int(tokens[min(drawn, len(tokens) - 1)])

    def _kept(self, logits: Logits, peak: np.float32) -> Tokens:
        """Return the tokens that the filters leave, likeliest first under top_k or top_p."""
        params = self._params
        if params.top_k:
            tokens = largest(logits, params.top_k)
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
