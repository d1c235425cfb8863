"""Whose turn the next step is, where sequences have different adapters. Pure.

A decode applies one set of adapters to all of its rows, so a step is of one set. Sets take steps in
turn: one that has just come waits for those that are here, and none waits for more steps than there
are sets. Above that is the rule of `planning`: a running stream waits for a chunk of prompts at the
most, whichever set the prompts are of.
"""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Turns(Generic[K]):
    """The sets in the order of their turns, and how long the streams of each have waited."""

    def __init__(self) -> None:
        self._waited: dict[K, int] = {}
        """Prompt tokens, of any set, that were evaluated since the set's streams decoded; the sets
        are in the order of their turns."""

    def order(self, present: Iterable[K]) -> list[K]:
        """Return the sets that are *present*, the one whose turn is next first."""
        here = dict.fromkeys(present)
        if here.keys() != self._waited.keys():
            kept = {key: waited for key, waited in self._waited.items() if key in here}
            self._waited = {**kept, **{key: 0 for key in here if key not in kept}}
        return list(self._waited)

    def waited(self, key: K) -> int:
        """Return how many prompt tokens were evaluated since the streams of *key* decoded."""
        return self._waited[key]

    def took(self, key: K, *, tokens: int, decodes: bool, streaming: Iterable[K]) -> None:
        """Record a step of *key* with so many prompt *tokens*; *streaming* sets have streams.

        *decodes* says whether its streams got a token. It is last in the order then.
        """
        streaming = set(streaming)
        own = 0 if decodes or key not in streaming else self._waited[key] + tokens
        del self._waited[key]
        for other in self._waited:
            self._waited[other] = self._waited[other] + tokens if other in streaming else 0
        self._waited[key] = own
