"""Guides: each takes the tokens of one output and masks those that may not come next.

An engine's thread calls them.
"""

import codecs
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pilotlight.guidance.grammar import Reasoning, TracksReasoning
from pilotlight_backend import Forced, ForcingGuide

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from pilotlight_backend.logits import Logits

_WORD_BITS = 32
_ALL = np.uint32(0xFFFFFFFF)
_FEW = 16
"""Fewer than one word in so many refuses a token: then only those words are unpacked."""


class GrammarLeft(Exception):
    """The matcher failed: it got a token that it had masked, or the grammar is too complex."""


class MatcherGuide:
    """Allows tokens that match a grammar, and end tokens where the text is complete."""

    def __init__(self, matcher: "LLMatcher", size: int) -> None:
        """*size* is the vocabulary's; a row of logits may be longer: its padding is masked."""
        self._matcher = matcher
        self._mask = np.zeros(-(-size // _WORD_BITS), dtype=np.uint32)
        self._size = size

    def restrict(self, logits: "Logits") -> None:
        """Mask every token that leaves the grammar."""
        self._matcher.unsafe_compute_mask_ptr(self._mask.ctypes.data, self._mask.nbytes)
        self._check()
        size = min(self._size, logits.size)
        words = np.flatnonzero(self._mask != _ALL)
        if len(words) * _FEW < len(self._mask):
            # In free text nearly every token is allowed, and this is five times as fast.
            bits = np.unpackbits(self._mask[words].view(np.uint8), bitorder="little")
            refused = (words[:, None] * _WORD_BITS + np.arange(_WORD_BITS)).ravel()[bits == 0]
            logits[refused[refused < size]] = -np.inf
        else:
            allowed = np.unpackbits(self._mask.view(np.uint8), count=size, bitorder="little")
            logits[:size][allowed == 0] = -np.inf
        logits[size:] = -np.inf

    def accept(self, token: int) -> None:
        """Advance by *token*."""
        self._matcher.consume_token(token)
        self._check()

    def forced(self) -> Forced:
        """Return the text that the grammar leaves one way for, or that it is complete."""
        text = self._matcher.compute_ff_bytes()
        return Forced(text, end=not text and self._matcher.is_stopped() and self.may_end)

    def admits(self, tokens: Sequence[int]) -> int:
        """Return how many of *tokens* match the grammar."""
        return self._matcher.validate_tokens(list(tokens))

    @property
    def may_end(self) -> bool:
        """Whether the text so far is complete."""
        return self._matcher.is_accepting()

    def fresh(self) -> "MatcherGuide":
        """Return a copy of this guide in its present state."""
        return MatcherGuide(self._matcher.deep_copy(), self._size)

    def _check(self) -> None:
        if self._matcher.is_error():
            raise GrammarLeft(self._matcher.get_error())


class FreeGuide:
    """Allows every token."""

    def restrict(self, logits: "Logits") -> None:
        """Mask nothing."""

    def accept(self, token: int) -> None:
        """Do nothing."""

    def forced(self) -> Forced:
        """Return that nothing is forced."""
        return Forced()

    def admits(self, tokens: Sequence[int]) -> int:
        """Return the number of *tokens*."""
        return len(tokens)


class LazyGuide:
    """Leaves text free up to a trigger, and restricts what follows to the calls' grammar.

    Triggers in reasoning do not count. While the output is surely within reasoning, the matcher is
    reset with each token; from the first token that may end the reasoning it advances. So it sees
    a trigger that shares a token with the end of the reasoning.
    """

    def __init__(
        self,
        first: MatcherGuide,
        tracker: TracksReasoning,
        pieces: Sequence[bytes],
        *,
        parallel: bool,
    ) -> None:
        self._first = first
        self._now = first.fresh()
        self._tracker = tracker
        self._pieces = pieces
        self._parallel = parallel
        self._calling = False

    def restrict(self, logits: "Logits") -> None:
        """Mask what continues neither free text nor a call."""
        self._now.restrict(logits)

    def accept(self, token: int) -> None:
        """Advance by *token*."""
        self._tracker.feed(self._pieces[token])
        if self._tracker.in_reasoning and not self._calling:
            self._now = self._first.fresh()
            return
        self._now.accept(token)
        # Free text may end anywhere; a call that has begun may not.
        called = self._calling and not self._parallel
        self._calling = called or not self._now.may_end

    def forced(self) -> Forced:
        """Return what must come in a call; in free text nothing does."""
        return self._now.forced()

    def admits(self, tokens: Sequence[int]) -> int:
        """Return how many of *tokens* match the grammar."""
        return self._now.admits(tokens)


class ReasoningBudgetGuide:
    """Forces the end of the reasoning when its budget is spent; else *then* restricts."""

    def __init__(
        self, then: ForcingGuide, reasoning: Reasoning, budget: int, pieces: Sequence[bytes]
    ) -> None:
        self._then = then
        self._pieces = pieces
        self._closing = reasoning.closing
        self._forced = 0
        """How many of the closing tokens came so far."""
        self._budget = budget
        self._spent = 0
        self._watch = _ReasoningWatch(reasoning)

    def restrict(self, logits: "Logits") -> None:
        """Mask all but the next closing token once the budget is spent."""
        token = self._next_closing()
        if token is None:
            self._then.restrict(logits)
            return
        score = logits[token]
        logits[:] = -np.inf
        # The model may give it no probability; it is forced all the same.
        logits[token] = score if np.isfinite(score) else 0

    def accept(self, token: int) -> None:
        """Advance by *token*."""
        forced = token == self._next_closing()
        self._then.accept(token)
        if forced:
            self._forced += 1
        if self._watch.reasoning:
            self._spent += 1
        self._watch.feed(self._pieces[token])

    def forced(self) -> Forced:
        """Return what must come behind the reasoning. The closing tokens are left to `restrict`."""
        return Forced() if self._next_closing() is not None else self._then.forced()

    def admits(self, tokens: Sequence[int]) -> int:
        """Return how many of *tokens* may come behind the reasoning."""
        return self._then.admits(tokens)

    def _next_closing(self) -> int | None:
        if 0 < self._forced < len(self._closing):
            return self._closing[self._forced]
        over = self._watch.reasoning and self._spent >= self._budget and not self._forced
        # Within a character the closer would make invalid UTF-8, which no grammar allows.
        return self._closing[0] if over and self._watch.whole else None


class _ReasoningWatch:
    """Follows the bytes of an output and knows whether they are reasoning."""

    def __init__(self, reasoning: Reasoning) -> None:
        self._opener = reasoning.opener.encode()
        self._closer = reasoning.closer.encode()
        self._begun = self.reasoning = reasoning.opened
        self._held = b""
        """Bytes that may become a marker."""
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def whole(self) -> bool:
        """Whether the bytes so far end with a whole character."""
        return not self._characters.getstate()[0]

    def feed(self, piece: bytes) -> None:
        """Take a token's bytes."""
        self._characters.decode(piece)
        self._held += piece
        if not self._begun:
            self._look_for_opener()
        if self.reasoning:
            self.reasoning = self._closer not in self._held
            self._held = self._held[-len(self._closer) :]

    def _look_for_opener(self) -> None:
        text = self._held.lstrip()
        if text.startswith(self._opener):
            self.reasoning = self._begun = True
            self._held = text.removeprefix(self._opener)
        elif not self._opener.startswith(text):
            self._begun = True  # and ended: content came first
