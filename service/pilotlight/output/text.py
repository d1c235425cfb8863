"""Text that arrives in pieces: decodes UTF-8 and finds fixed strings."""

import codecs
import re
from collections.abc import Iterable


class TextDecoder:
    """Decodes the bytes of tokens to text.

    A character may be spread over any number of tokens. Bytes that are not UTF-8 become U+FFFD, as
    in `bytes.decode`.
    """

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    @property
    def pending(self) -> bool:
        """Whether bytes are held back."""
        return self._utf8.getstate() != (b"", 0)

    def feed(self, piece: bytes) -> str:
        """Return the text that *piece* completes."""
        return self._utf8.decode(piece)

    def flush(self) -> str:
        """Return U+FFFD if a character is incomplete."""
        return self._utf8.decode(b"", final=True)


class Markers:
    """A set of fixed strings to find in text. Stateless between calls.

    Where the text is cut does not matter: the marker that is complete first wins, as if the text
    came one character at a time, and of two that end at the same character the longer. Raises
    `ValueError` for an empty string.
    """

    def __init__(self, words: Iterable[str]) -> None:
        # Longest first: of two markers that end at the same character the longer one wins.
        self._words = sorted(set(words), key=lambda word: (-len(word), word))
        if "" in self._words:
            raise ValueError("an empty string cannot be a marker")
        self._longest = len(self._words[0]) if self._words else 0
        # One search passes nearly all text: it has no marker's first character.
        firsts = "".join(re.escape(first) for first in sorted({word[0] for word in self._words}))
        self._first = re.compile(f"[{firsts}]" if firsts else r"(?!)")

    def find(self, text: str) -> tuple[int, str | None]:
        """Return where the first marker starts, and the marker.

        Without one, return where the part to hold back starts: the longest suffix of *text* that
        may become a marker, or `len(text)`.
        """
        first = self._first.search(text)
        if first is None:
            return len(text), None
        found: tuple[int, str] | None = None
        for word in self._words:
            start = text.find(word, first.start())
            if start >= 0 and (found is None or start + len(word) < found[0] + len(found[1])):
                found = start, word
        return found or (self._held(text, first.start()), None)

    def _held(self, text: str, first: int) -> int:
        for start in range(max(first, len(text) - self._longest + 1), len(text)):
            end = text[start:]
            if any(word.startswith(end) for word in self._words):
                return start
        return len(text)
