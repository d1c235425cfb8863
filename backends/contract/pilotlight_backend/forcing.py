"""Which tokens a request's guide forces, in the same way for every backend."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile

from pilotlight_backend.errors import GuideFailed
from pilotlight_backend.guide import ForcingGuide
from pilotlight_backend.spelling import LOOK_BACK, Spelling
from pilotlight_backend.types import GenerateRequest

_MOST = 64
"""Forced tokens of one step, so that a long constant text does not delay other sequences."""


class Forcing:
    """The forced tokens of one request. The engine uses it on its thread."""

    def __init__(self, guide: ForcingGuide, spelling: Spelling, refused: frozenset[int]) -> None:
        """Tokens of *refused* are left to be sampled: there may be another spelling."""
        self._guide = guide
        self._spelling = spelling
        self._refused = refused
        self.is_due = True
        """Whether a token may be forced before the next one is sampled: so for the first one."""

    @classmethod
    def of(
        cls, request: GenerateRequest, spelling: Spelling | None, suppressed: Sequence[int] = ()
    ) -> "Forcing | None":
        """Return what forces tokens of *request*; None if each of them is sampled.

        That is so without *spelling*, and if a bias may choose among spellings.
        """
        guide = request.guide
        if spelling is None or request.sampling.logit_bias or not isinstance(guide, ForcingGuide):
            return None
        return cls(guide, spelling, request.stop_token_ids.union(suppressed, spelling.ends))

    def take(self, before: Sequence[int]) -> Iterator[int]:
        """Yield the tokens that must come next behind *before*, as far as they are certain.

        The guide accepts each one before it is yielded. Raises `GuideFailed`.
        """
        last = list(before[-LOOK_BACK:])
        taken = 0
        self.is_due = True
        while taken < _MOST:
            tokens = self._next(last)
            if not tokens:
                self.is_due = False
                return
            for token in tokens:
                with failures():
                    self._guide.accept(token)
                yield token
                last.append(token)
            taken += len(tokens)

    def _next(self, before: Sequence[int]) -> Sequence[int]:
        with failures():
            must = self._guide.forced()
            tokens: Sequence[int] = ()
            if must.end:
                tokens = self._spelling.ends[:1]  # it is not emitted: any of them will do
            elif must.text:
                spelled = self._spelling.certain(before, must.text)
                tokens = tuple(takewhile(lambda token: token not in self._refused, spelled))
            return tokens[: self._guide.admits(tokens)] if tokens else ()


@contextmanager
def failures() -> Iterator[None]:
    """Raise `GuideFailed` for any exception; without its message, which may quote a request."""
    try:
        yield
    except Exception as error:
        raise GuideFailed(f"the guide failed with {type(error).__name__}") from error
