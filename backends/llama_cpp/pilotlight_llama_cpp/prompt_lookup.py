"""Prompt lookup: what followed the last tokens where they came before. Pure.

Code edits, extraction and summaries copy from their prompt. The index is a hash chain, as deflate
has one: each n-gram knows where it came last, and each position where its n-gram came before that.
So a token takes one entry when it comes, and a lookup compares a few candidates.

Source of the method: https://github.com/apoorvumang/prompt-lookup-decoding; vLLM and llama.cpp call
it ngram.
"""

from collections.abc import Iterable
from typing import NamedTuple

LONGEST = 64
"""Tokens from which on a match counts as no longer."""

_CANDIDATES = 16
"""Earlier places that a lookup compares, the last ones: a bound on its time."""


class Match(NamedTuple):
    """The tokens that came behind an earlier place which ends with the same tokens."""

    length: int
    """How many tokens are the same."""
    tokens: tuple[int, ...]


class PromptLookup:
    """An index over the tokens of one sequence, which is extended token by token."""

    def __init__(self, shortest: int) -> None:
        """*shortest* is the fewest tokens that have to be the same."""
        self._shortest = shortest
        self._tokens: list[int] = []
        self._last: dict[tuple[int, ...], int] = {}
        """Where an n-gram of the shortest length ended last."""
        self._earlier: list[int] = [0]
        """For each length of the sequence: where the n-gram at its end came before; 0 for never."""

    def __len__(self) -> int:
        """Return how many tokens the index has."""
        return len(self._tokens)

    def extend(self, tokens: Iterable[int]) -> None:
        """Add *tokens* at the end."""
        for token in tokens:
            self._tokens.append(token)
            end = len(self._tokens)
            gram = tuple(self._tokens[-self._shortest :])
            self._earlier.append(self._last.get(gram, 0) if end >= self._shortest else 0)
            self._last[gram] = end

    def find(self, most: int) -> Match | None:
        """Return the longest match of the end, the last one of several; None without one.

        It has *most* tokens. Where it reaches the end it repeats itself, as a copy of deflate does.
        """
        end = len(self._tokens)
        best = length = 0
        place = self._earlier[end]
        for _ in range(_CANDIDATES):
            if not place or length == LONGEST:
                break
            if (same := self._same(place, end)) > length:
                best, length = place, same
            place = self._earlier[place]
        if not best:
            return None
        period = end - best
        return Match(length, tuple(self._tokens[best + step % period] for step in range(most)))

    def _same(self, place: int, end: int) -> int:
        """Return how many tokens before *place* and before *end* are the same."""
        tokens, most = self._tokens, min(place, LONGEST)
        count = self._shortest
        while count < most and tokens[place - count - 1] == tokens[end - count - 1]:
            count += 1
        return count
