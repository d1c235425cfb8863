"""Samples a request's tokens from rows of logits: guide, stages, log probabilities. Needs numpy."""

from collections.abc import Callable, Sequence

from pilotlight_backend import guided_decoding
from pilotlight_backend.logits import Logits, with_logprobs
from pilotlight_backend.sampling import SamplerChain
from pilotlight_backend.types import GenerateRequest, Token


class TokenSampler:
    """Samples the tokens of one request; for one thread at a time.

    It is what llama.cpp calls a common_sampler: a grammar, a chain of stages, log probabilities.
    """

    def __init__(
        self, request: GenerateRequest, *, ends: Sequence[int], context_length: int
    ) -> None:
        """Prepare *request*; *ends* are the end-of-generation tokens."""
        self._chain = SamplerChain(request.sampling, request.prompt, context_length=context_length)
        self._guide = request.guide
        self._logprobs = request.logprobs
        self._ends = ends
        self._stops = (*ends, *request.stop_token_ids)
        self._ignore_eos = request.ignore_eos
        self._unstopped = request.min_tokens

    def sample(self, logits: Logits, piece: Callable[[int], bytes]) -> Token:
        """Return the next token, with its bytes by *piece*; may change *logits*.

        Raises `GuideFailed` if the guide fails or allows no token, and `InferenceFailed` if the
        logits are not finite.
        """
        if self._logprobs is None:
            token = self._sample(logits)
            return Token(token, piece(token))
        # On a copy: log probabilities are the model's own, from before the guide and the stages.
        token = self._sample(logits.copy())
        return with_logprobs(token, logits, self._logprobs, piece)

    def _sample(self, logits: Logits) -> int:
        if self._guide is not None:
            guided_decoding.restrict(self._guide, logits)
        if withheld := self._withheld():
            guided_decoding.withhold(logits, withheld)
        token = self._chain.sample(logits)
        if self._guide is not None:
            guided_decoding.accept(self._guide, token, logits)
        self._unstopped -= 1
        return token

    def _withheld(self) -> Sequence[int]:
        """Return the ends that must not come next."""
        if self._unstopped > 0:
            return self._stops
        return self._ends if self._ignore_eos else ()
