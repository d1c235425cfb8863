"""Guides: what is told of each token, and which may come next. An engine's thread calls them."""

import codecs
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pilotlight.guidance.grammar import Thinking, Thought
from pilotlight_backend import Guide

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from pilotlight_backend.logits import Logits

_WORD_BITS = 32
_ALL = np.uint32(0xFFFFFFFF)
_FEW = 16
"""One word in so many has a bit that refuses something."""


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
        words = np.flatnonzero(self._mask != _ALL)
        if len(words) * _FEW < len(self._mask):
            # In free text nearly everything is allowed: five times as fast.
            bits = np.unpackbits(self._mask[words].view(np.uint8), bitorder="little")
            refused = (words[:, None] * _WORD_BITS + np.arange(_WORD_BITS)).ravel()[bits == 0]
            logits[refused[refused < size]] = -np.inf
        else:
            allowed = np.unpackbits(self._mask.view(np.uint8), count=size, bitorder="little")
            logits[:size][allowed == 0] = -np.inf
        logits[size:] = -np.inf

    def accept(self, token: int) -> None:
        """Go on behind *token*."""
        self._matcher.consume_token(token)
        self._check()

    @property
    def may_end(self) -> bool:
        """Whether what was written so far is complete."""
        return self._matcher.is_accepting()

    def fresh(self) -> "MatcherGuide":
        """Return a guide that goes on as this one does from here."""
        return MatcherGuide(self._matcher.deep_copy(), self._size)

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GrammarLeft(self._matcher.get_error())


class FreeGuide:
    """Allows everything."""

    def restrict(self, logits: "Logits") -> None:
        """Refuse nothing."""

    def accept(self, token: int) -> None:
        """Keep nothing."""


class OpenGuide:
    """Leaves text free up to a call, and holds what follows to the call's grammar.

    A call begins in content: what a thought holds is none. The guide begins anew with each token
    that content begins with, or that may end a thought; so a marker that shares a token with what
    stands before it is seen.
    """

    def __init__(
        self, first: MatcherGuide, thinking: Thinking, pieces: Sequence[bytes], *, parallel: bool
    ) -> None:
        self._first = first
        self._now = first.fresh()
        self._thinking = thinking
        self._pieces = pieces
        self._parallel = parallel
        self._calling = False

    def restrict(self, logits: "Logits") -> None:
        """Refuse what no text and no call goes on with."""
        self._now.restrict(logits)

    def accept(self, token: int) -> None:
        """Go on behind *token*."""
        self._thinking.feed(self._pieces[token])
        if self._thinking.sure and not self._calling:
            self._now = self._first.fresh()
            return
        self._now.accept(token)
        # Free text may end anywhere, and what has begun to be a call may not.
        called = self._calling and not self._parallel
        self._calling = called or not self._now.may_end


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
