"""A model's vocabulary in llguidance's form."""

import threading
from typing import TYPE_CHECKING, Any

from pilotlight_backend import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLTokenizer

_WORDS = "[a-z]{1,10}"
"""A slice: tokens that llguidance masks together if a lexeme allows them all. Halves the time of a
step in which any word is allowed (`python -m benchmarks.guide`)."""

_CACHED = 16
"""Compiled grammars kept for each model; some hundred kilobytes each."""


class LruCache:
    """The values that were used most recently. Safe for threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[str, Any] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> Any:
        """Return the value of *key*, or None."""
        with self._lock:
            value = self._values.pop(key, None)
            if value is not None:
                self._values[key] = value
            return value

    def put(self, key: str, value: Any) -> None:
        """Keep *value*; evict the least recently used one."""
        with self._lock:
            self._values[key] = value
            if len(self._values) > self._most:
                del self._values[next(iter(self._values))]


class GuideTokenizer:
    """A vocabulary in llguidance's form, made once for each model and shared by its guides.

    Every token is its bytes, control tokens too: a grammar writes `<tool_call>` as text, and the
    model may write it as one token or as several. Two kinds are special, never text: tokens that
    end a generation, which are allowed where the grammar is complete, and tokens that are skipped
    in the output, since the output without them would not match.
    """

    def __init__(self, vocabulary: Vocabulary, native: "LLTokenizer") -> None:
        self.vocabulary = vocabulary
        self.native = native
        self.compiled = LruCache(_CACHED)
        """Matchers of recent grammars, by the grammar's text."""

    @classmethod
    def of(
        cls, vocabulary: Vocabulary, skipped: frozenset[bytes] = frozenset()
    ) -> "GuideTokenizer":
        """Build it: 0.3 s for 150,000 tokens, in which llguidance holds the GIL.

        *skipped* are the bytes of tokens that are skipped in the output. Raises `ValueError` if no
        token ends a generation.
        """
        from llguidance import LLTokenizer  # noqa: PLC0415 - a start does without it

        if not vocabulary.ends:
            raise ValueError("no token of the vocabulary ends a generation")
        source: Any = _Source(vocabulary, skipped)
        slices = [*LLTokenizer.general_slices(), _WORDS]
        ends = sorted(vocabulary.ends)
        return cls(vocabulary, LLTokenizer(source, eos_token=ends, slices=slices))


class _Source:
    """What llguidance asks of a tokenizer: see `llguidance.TokenizerWrapper`."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary, skipped: frozenset[bytes]) -> None:
        self.tokens = vocabulary.pieces
        skipped_ids = {token for token, piece in enumerate(vocabulary.pieces) if piece in skipped}
        self.special_token_ids = sorted(vocabulary.ends | skipped_ids)
        self.eos_token_id = min(vocabulary.ends)

    def __call__(self, text: str) -> list[int]:
        """Tokenize *text*: llguidance asks for forced text only, which `build` switches off."""
        raise NotImplementedError(f"forced text: {text!r}")
