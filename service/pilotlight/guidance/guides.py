"""Guides: what is told of each token, and which may come next. An engine's thread calls them."""

import codecs
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pilotlight.guidance.grammar import Thought
from pilotlight_backend import Guide

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from pilotlight_backend.logits import Logits

_WORD_BITS = 32


class GrammarLeft(Exception):
    """The matcher cannot go on: a token that it had refused, or a grammar beyond its limits."""


class MatcherGuide:
    """Allows what keeps to a grammar, and the tokens that end where it is complete."""

    def __init__(self, matcher: "LLMatcher", size: int) -> None:
        """*size* is the vocabulary's; a row of scores may be longer: padding is never allowed."""
        self._matcher = matcher
        self._mask = np.zeros(-(-size // _WORD_BITS), dtype=np.uint32)
        self._size = size

    def restrict(self, logits: "Logits") -> None:
        """Refuse every token that leaves the grammar."""
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        self._check()
        size = min(self._size, logits.size)
        allowed = np.unpackbits(self._mask.view(np.uint8), count=size, bitorder="little")
        logits[:size][allowed == 0] = -np.inf
        logits[size:] = -np.inf

    def accept(self, token: int) -> None:
        """Go on behind *token*."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GrammarLeft(self._matcher.get_error())


class FreeGuide:
    """Allows everything."""

    def restrict(self, logits: "Logits") -> None:
        """Refuse nothing."""

    def accept(self, token: int) -> None:
        """Keep nothing."""


class BudgetedThought:
    """Makes a thought end when it has had its tokens; *then* guides all the same."""

    def __init__(self, then: Guide, thought: Thought, budget: int, pieces: Sequence[bytes]) -> None:
        self._then = then
        self._pieces = pieces
        self._closing = thought.closing
        self._forced = 0
        """How many of the closing tokens came."""
        self._budget = budget
        self._spent = 0
        self._watch = _ThoughtWatch(thought)

    def restrict(self, logits: "Logits") -> None:
        """Refuse all but the next closing token where the budget is spent."""
        token = self._next_closing()
        if token is None:
            self._then.restrict(logits)
            return
        score = logits[token]
        logits[:] = -np.inf
        # A model may hold it for impossible; it comes all the same.
        logits[token] = score if np.isfinite(score) else 0

    def accept(self, token: int) -> None:
        """Go on behind *token*."""
        forced = token == self._next_closing()
        self._then.accept(token)
        if forced:
            self._forced += 1
        if self._watch.thinking:
            self._spent += 1
        self._watch.feed(self._pieces[token])

    def _next_closing(self) -> int | None:
        if 0 < self._forced < len(self._closing):
            return self._closing[self._forced]
        over = self._watch.thinking and self._spent >= self._budget and not self._forced
        # In the middle of a character it would be no text any more, which no grammar allows.
        return self._closing[0] if over and self._watch.whole else None


class _ThoughtWatch:
    """Tells from a token's bytes to the next whether the model is thinking."""

    def __init__(self, thought: Thought) -> None:
        self._opener = thought.opener.encode()
        self._closer = thought.closer.encode()
        self._begun = self.thinking = thought.opened
        self._held = b""
        """What may become a marker."""
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def whole(self) -> bool:
        """Whether the text so far ends with a whole character."""
        return not self._characters.getstate()[0]

    def feed(self, piece: bytes) -> None:
        """Take a token's bytes."""
        self._characters.decode(piece)
        self._held += piece
        if not self._begun:
            self._look_for_opener()
        if self.thinking:
            self.thinking = self._closer not in self._held
            self._held = self._held[-len(self._closer) :]

    def _look_for_opener(self) -> None:
        text = self._held.lstrip()
        if text.startswith(self._opener):
            self.thinking = self._begun = True
            self._held = text.removeprefix(self._opener)
        elif not self._opener.startswith(text):
            self._begun = True  # and ended: the answer came at once
