"""Spells forced bytes in a model's tokens, as the model's own tokenizer does."""

from bisect import bisect_right
from codecs import getincrementaldecoder
from collections.abc import Callable, Sequence
from itertools import takewhile

from pilotlight_backend.guide import Vocabulary

LOOK_BACK = 6
"""Tokens before the forced bytes that are tokenized with them: a tokenizer looks back by a word."""
_MOST = 256
"""Bytes that are spelled at once; they are tokenized on the engine's thread."""
_PROBES = ("a", " a", "A", "0", " ", "\n", '"', '":', '",', "_", "-", ".", "}", ">")
"""Texts that may follow. A token that differs with one of them is not certain."""
_KEPT = 2048
"""Spellings that are kept; agents send the same tools each time."""
_BEGINNING = 2
"""Bytes by which tokens are found."""
_WITHIN_CHARACTERS = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 that begin no character."""


class Spelling:
    """Spells bytes with the fewest assumptions: only tokens that no continuation changes.

    A guide forces bytes, not tokens. Behind `{"` the bytes `name"` are forced; the model spells
    them `name` and `":`, so `name` is certain and the quote is not. Thread-safe.
    """

    def __init__(self, vocabulary: Vocabulary, tokenize: Callable[[str], Sequence[int]]) -> None:
        """*tokenize* parses the names of special tokens, and adds none. 0.3 s for 150,000 tokens.

        It is called on the engine's thread.
        """
        self._pieces = vocabulary.pieces
        self._longer = _by_beginning(vocabulary.pieces)
        self._tokenize = tokenize
        self._known: dict[tuple[bytes, bytes], tuple[int, ...]] = {}
        self.ends = tuple(sorted(vocabulary.ends))

    def certain(self, before: Sequence[int], forced: bytes) -> tuple[int, ...]:
        """Return the tokens behind *before* that spell *forced*, up to where it is uncertain.

        Empty if the tokenizer would not have split the text at the end of *before*: the model has
        begun another spelling, and its rest cannot be foreseen.
        """
        tail = b"".join(self._pieces[token] for token in before[-LOOK_BACK:])
        tail = tail.lstrip(_WITHIN_CHARACTERS)
        forced = forced[:_MOST]
        key = (tail, forced)
        tokens = self._known.get(key)
        if tokens is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            tokens = self._known[key] = tuple(self._certain(tail, forced))
        return tokens

    def _certain(self, tail: bytes, forced: bytes) -> Sequence[int]:
        text = _decoded(tail + forced)
        if text is None:
            return ()
        tokens = self._closed(self._spell(tail, text), forced)
        for probe in _PROBES:
            if not tokens:
                break
            tokens = _common(tokens, self._spell(tail, text + probe))
        return tokens

    def _spell(self, tail: bytes, text: str) -> list[int]:
        """Return the tokens of *text* behind *tail*, its beginning; empty if one crosses both."""
        tokens = self._tokenize(text)
        sizes = [len(self._pieces[token]) for token in tokens]
        # SentencePiece adds a space at the beginning of a text.
        at = len(text.encode()) - sum(sizes)
        for index, size in enumerate(sizes):
            if at == len(tail):
                return list(tokens[index:])
            at += size
        return []

    def _closed(self, tokens: Sequence[int], forced: bytes) -> Sequence[int]:
        """Return *tokens* up to the first that a longer token may replace, past what is forced."""
        at = 0
        for index, token in enumerate(tokens):
            piece = self._pieces[token]
            end = at + len(piece)
            if not piece or not forced.startswith(piece, at):
                return tokens[:index]
            # Also one that begins within it: a merge with what follows may take it apart.
            if any(self._goes_on(forced[begin:]) for begin in range(at, end)):
                return tokens[:index]
            at = end
        return tokens

    def _goes_on(self, text: bytes) -> bool:
        """Return whether a token begins with *text* and is longer."""
        pieces = self._longer.get(text[:_BEGINNING], ())
        if len(text) < _BEGINNING:
            return bool(pieces)
        index = bisect_right(pieces, text)
        return index < len(pieces) and pieces[index].startswith(text)


def _by_beginning(pieces: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """Return *pieces* of two bytes and more by the first two, sorted; and the first bytes.

    In parts, since a sort holds the GIL: one of 150,000 pieces took 0.3 s on busy CPUs.
    """
    found: dict[bytes, list[bytes]] = {}
    for piece in pieces:
        if len(piece) >= _BEGINNING:
            found.setdefault(piece[:_BEGINNING], []).append(piece)
    for some in found.values():
        some.sort()
    return found | {beginning[:1]: some for beginning, some in found.items()}


def _common(some: Sequence[int], others: Sequence[int]) -> Sequence[int]:
    """Return the tokens with which both begin."""
    pairs = zip(some, others, strict=False)
    return some[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))]


def _decoded(data: bytes) -> str | None:
    """Return *data* as text, without a cut character at the end; None if it is not UTF-8."""
    try:
        return getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        return None
