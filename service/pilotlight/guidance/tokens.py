"""A model's tokens as llguidance wants them."""

import threading
from typing import TYPE_CHECKING, Any

from pilotlight_backend import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLTokenizer

_WORDS = "[a-z]{1,10}"
"""Tokens that are looked at together, where an expression allows them all: halves the time of a
step that may write any word (`python -m benchmarks.guide`)."""


_KEPT = 16
"""Grammars, some hundred kilobytes each."""


class Recent:
    """The values that were used last, for several threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: dict[str, Any] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> Any:
        """Return the value of *key*, None where it is not kept."""
        with self._lock:
            value = self._values.pop(key, None)
            if value is not None:
                self._values[key] = value
            return value

    def put(self, key: str, value: Any) -> None:
        """Keep *value*, in place of the one unused for longest."""
        with self._lock:
            self._values[key] = value
            if len(self._values) > self._most:
                del self._values[next(iter(self._values))]


class Tokens:
    """A vocabulary in llguidance's own form, made once for each model and shared by its guides.

    Every token is its bytes, special tokens too, so that a grammar writes `<tool_call>` as text and
    any spelling of it will do. Those that end a generation are special: they are allowed where the
    grammar is complete, and are never text. So are those that are left out of answers: they would
    keep a grammar that the answer without them does not.
    """

    def __init__(self, vocabulary: Vocabulary, tokenizer: "LLTokenizer") -> None:
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self.compiled = Recent(_KEPT)
        """Matchers of the grammars that were asked for last, by their text."""

    @classmethod
    def of(cls, vocabulary: Vocabulary, silent: frozenset[bytes] = frozenset()) -> "Tokens":
        """Make them: 0.3 s for 150,000 tokens, and on a thread too llguidance keeps the GIL.

        *silent* are the bytes of tokens that are left out of answers. `ValueError` where no token
        ends a generation.
        """
        from llguidance import LLTokenizer  # noqa: PLC0415 - a start does without it

        if not vocabulary.ends:
            raise ValueError("no token of the vocabulary ends a generation")
        source: Any = _Source(vocabulary, silent)
        slices = [*LLTokenizer.general_slices(), _WORDS]
        ends = sorted(vocabulary.ends)
        return cls(vocabulary, LLTokenizer(source, eos_token=ends, slices=slices))


class _Source:
    """What llguidance asks of a tokeniser; see its `TokenizerWrapper`."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary, silent: frozenset[bytes]) -> None:
        self.tokens = vocabulary.pieces
        left_out = {token for token, piece in enumerate(vocabulary.pieces) if piece in silent}
        self.special_token_ids = sorted(vocabulary.ends | left_out)
        self.eos_token_id = min(vocabulary.ends)

    def __call__(self, text: str) -> list[int]:
        """Tokenise *text*: only asked where text is forced, which `build` switches off."""
        raise NotImplementedError(f"nothing forces {text!r}")
