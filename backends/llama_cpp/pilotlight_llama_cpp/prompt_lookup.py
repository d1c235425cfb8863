"""Prompt lookup: what followed the last tokens where they came before. Pure.

Code edits, extraction and summaries copy from their prompt. The index is a hash chain, as deflate
has one: each n-gram knows where it came last, and each position where its n-gram came before that.
There are two of them. Where a text repeats itself, a long n-gram has few places and the right one
is among them; behind a change only a short one is found. A token takes two entries when it comes,
and a lookup compares a few places. While a copy goes on there is no lookup.

Source of the method: https://github.com/apoorvumang/prompt-lookup-decoding; vLLM and llama.cpp call
it ngram.
"""

from collections.abc import Iterable
from typing import NamedTuple

LONGEST = 64
"""Tokens from which on a match is not compared with others."""

_LONG = 12
"""The longer n-gram, as in llama.cpp's ngram-simple: with two or three of its tokens the functions
of a file are told apart by what is around them."""
_CANDIDATES = 16
"""Earlier places that a lookup compares in a chain, the last ones: a bound on its time."""


class Match(NamedTuple):
    """The tokens that came behind an earlier place which ends with the same tokens."""

    length: int
    """How many tokens are the same."""
    tokens: tuple[int, ...]


class _Chain:
    """Where the n-grams of one length ended: the last place, and before each place the one before.

    Places are lengths of the sequence. An n-gram is known by its hash: what is found is compared.
    """

    __slots__ = ("_last", "_size", "earlier")

    def __init__(self, size: int) -> None:
        self._size = size
        self._last: dict[int, int] = {}
        self.earlier: list[int] = [0]
        """For each length of the sequence: where the n-gram at its end came before; 0 for never."""

    def add(self, tokens: list[int]) -> None:
        """Add the n-gram at the end of *tokens*."""
        end, before = len(tokens), 0
        if end >= self._size:
            gram = hash(tuple(tokens[-self._size :]))
            before = self._last.get(gram, 0)
            self._last[gram] = end
        self.earlier.append(before)


class PromptLookup:
    """An index over the tokens of one sequence, which is extended token by token."""

    def __init__(self, shortest: int) -> None:
        """*shortest* is the fewest tokens that have to be the same."""
        self._shortest = shortest
        self._tokens: list[int] = []
        self._short, self._long = _Chain(shortest), _Chain(max(shortest, _LONG))
        self._copied = self._same = 0
        """The place that was found last, moved on with each token; and how many tokens before it
        are the same as those at the end. A copy goes on there also behind a token that differs."""

    def __len__(self) -> int:
        """Return how many tokens the index has."""
        return len(self._tokens)

    def extend(self, tokens: Iterable[int]) -> None:
        """Add *tokens* at the end."""
        known = self._tokens
        for token in tokens:
            if self._copied:
                self._same = self._same + 1 if known[self._copied] == token else 0
                self._copied += 1
            known.append(token)
            self._short.add(known)
            self._long.add(known)

    def find(self, most: int) -> Match | None:
        """Return the longest match of the end, the last one of several; None without one.

        It has *most* tokens. Where it reaches the end it repeats itself, as a copy of deflate does.
        """
        if self._same < LONGEST:
            if not self._short.earlier[-1]:
                return None
            self._compare(self._long)
            if self._same < _LONG:
                self._compare(self._short)
            if self._same < self._shortest:
                return None
        tokens, place = self._tokens, self._copied
        period = len(tokens) - place
        if most <= period:
            return Match(self._same, tuple(tokens[place : place + most]))
        return Match(self._same, tuple(tokens[place + step % period] for step in range(most)))

    def _compare(self, chain: _Chain) -> None:
        """Go to the place of *chain* before which most tokens are the same, if it is better."""
        end = len(self._tokens)
        place = chain.earlier[end]
        for _ in range(_CANDIDATES):
            if not place or self._same >= LONGEST:
                break
            if (same := self._count(place, end)) > self._same:
                self._copied, self._same = place, same
            place = chain.earlier[place]

    def _count(self, place: int, end: int) -> int:
        """Return how many tokens before *place* and before *end* are the same."""
        tokens, most = self._tokens, min(place, LONGEST)
        count = 0
        while count < most and tokens[place - count - 1] == tokens[end - count - 1]:
            count += 1
        return count
