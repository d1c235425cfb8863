"""Samples a request's tokens from rows of logits: guide, stages, log probabilities. Needs numpy."""

from collections.abc import Callable, Iterator, Sequence

from pilotlight_backend import guided_decoding
from pilotlight_backend.forcing import Forcing
from pilotlight_backend.logits import Logits, with_logprobs
from pilotlight_backend.sampling import SamplerChain
from pilotlight_backend.spelling import Spelling
from pilotlight_backend.types import GenerateRequest, Token
from pilotlight_backend.validation import token_ids


class TokenSampler:
    """Samples the tokens of one request; for one thread at a time.

    It is what llama.cpp calls a common_sampler: a grammar, a chain of stages, log probabilities.
    """

    def __init__(
        self,
        request: GenerateRequest,
        *,
        ends: Sequence[int],
        context_length: int,
        spelling: Spelling | None = None,
    ) -> None:
        """Prepare *request*; *ends* are the end-of-generation tokens.

        With *spelling*, `forced` yields the tokens that the guide forces.
        """
        self._chain = SamplerChain(
            request.sampling, tuple(token_ids(request.prompt)), context_length=context_length
        )
        self._guide = request.guide
        self._forcing = Forcing.of(request, spelling)
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

    @property
    def has_logprobs(self) -> bool:
        """Whether log probabilities are asked for: then forced tokens need logits too."""
        return self._logprobs is not None

    @property
    def may_force(self) -> bool:
        """Whether `forced` may yield a token before the next one is sampled."""
        return self._forcing is not None and self._forcing.is_due

    def forced(self, before: Sequence[int]) -> Iterator[int]:
        """Yield the tokens that must come next behind *before*, which take no logits.

        Raises `GuideFailed`.
        """
        if self._forcing is None:
            return
        for token in self._forcing.take(before):
            self._chain.accept(token)
            self._unstopped -= 1
            yield token

    def with_logprobs(self, token: int, logits: Logits, piece: Callable[[int], bytes]) -> Token:
        """Return a forced *token* with its log probabilities in *logits*."""
        return with_logprobs(token, logits, self._logprobs or 0, piece)

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
