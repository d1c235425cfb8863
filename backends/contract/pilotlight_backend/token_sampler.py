"""How a request's tokens are chosen from rows of scores. Needs numpy, which backends bring."""

from collections.abc import Callable, Sequence

from pilotlight_backend import guided_decoding
from pilotlight_backend.logits import Logits, with_logprobs
from pilotlight_backend.sampling import SamplerChain
from pilotlight_backend.types import GenerateRequest, Token


class TokenSampler:
    """One request's choices: its guide, its ends, its sampling, its log probabilities.

    It carries what these remember of the tokens before; one thread at a time.
    """

    def __init__(
        self, request: GenerateRequest, *, ends: Sequence[int], context_length: int
    ) -> None:
        """Note what *request* wants; *ends* are the tokens that end a generation."""
        self._chain = SamplerChain(request.sampling, request.prompt, context_length=context_length)
        self._guide = request.guide
        self._logprobs = request.logprobs
        self._ends = ends
        self._stops = (*ends, *request.stop_token_ids)
        self._ignore_eos = request.ignore_eos
        self._unstopped = request.min_tokens

    def sample(self, logits: Logits, piece: Callable[[int], bytes]) -> Token:
        """Choose the next token, whose bytes *piece* returns; *logits* may be changed.

        Raises `GuideFailed` where the guide fails or leaves nothing to choose, and
        `InferenceFailed` where the scores are no numbers.
        """
        if self._logprobs is None:
            token = self._sample(logits)
            return Token(token, piece(token))
        token = self._sample(logits.copy())  # probabilities are the model's own
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
        """Return the tokens that the next one may not be."""
        if self._unstopped > 0:
            return self._stops
        return self._ends if self._ignore_eos else ()
