"""The bytes of each token, read from `tokenizer.json`.

The library's own decoder returns text, and a token that ends within a character has none.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from pilotlight_backend import ModelFileInvalid
from pilotlight_backend.bounded_read import read_bounded
from pilotlight_backend.decode_errors import describe

FILE_NAME = "tokenizer.json"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_WORD_START = "\u2581"  # SentencePiece's mark for a space


class _AddedToken(Struct):
    id: int
    content: str
    special: bool = False


class _ModelSection(Struct):
    vocab: dict[str, int] | list[tuple[str, float]]


class _TokenizerFile(Struct):
    model: _ModelSection
    added_tokens: list[_AddedToken] = []
    decoder: Any = None
    pre_tokenizer: Any = None


class OnnxVocabulary:
    """A model's tokens; ids that the tokenizer does not use have no bytes."""

    def __init__(self, folder: Path) -> None:
        """Read the folder's `tokenizer.json`. Raises `ModelFileInvalid`."""
        path = folder / FILE_NAME
        try:
            file = msgspec.json.decode(read_bounded(path), type=_TokenizerFile)
        except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise ModelFileInvalid(path, f"it cannot be read: {describe(error)}") from error
        vocab = file.model.vocab
        spelled = (
            vocab if isinstance(vocab, dict) else {word: i for i, (word, _) in enumerate(vocab)}
        )
        self._words = {token: word for word, token in spelled.items()}
        self._added = {token.id: token.content for token in file.added_tokens}
        self._special = [token.content for token in file.added_tokens if token.special]
        self._byte_level = _mentions(file.decoder, "ByteLevel") or _mentions(
            file.pre_tokenizer, "ByteLevel"
        )
        null = _letters()[0] if self._byte_level else "<0x00>"
        self.null: int | None = spelled.get(null)
        """The token of the null character, if there is one."""
        self._pieces: dict[int, bytes] = {}

    @property
    def special(self) -> list[str]:
        """The names of the special tokens."""
        return self._special

    def piece(self, token: int) -> bytes:
        """Return the bytes of *token*, special tokens spelled out."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._spell(token)
        return piece

    def _spell(self, token: int) -> bytes:
        if token in self._added:
            return self._added[token].encode()
        word = self._words.get(token, "")
        if self._byte_level:
            known = _bytes_of_letters()
            return b"".join(known.get(letter) or letter.encode() for letter in word)
        byte = _BYTE_TOKEN.fullmatch(word)
        return bytes.fromhex(byte[1]) if byte else word.replace(_WORD_START, " ").encode()


def _mentions(part: Any, kind: str) -> bool:
    """Return whether *part* of the tokenizer, or a part of its sequence, is of type *kind*."""
    parts = [part]
    while parts:
        one = parts.pop()
        if not isinstance(one, dict):
            continue
        if one.get("type") == kind:
            return True
        for inner in (one.get("decoders"), one.get("pretokenizers")):
            parts += inner if isinstance(inner, list) else []
    return False


@cache
def _letters() -> list[str]:
    """Return the letter that a byte-level vocabulary has for each byte.

    As in GPT-2 (`bytes_to_unicode`): printable bytes are themselves, the others are letters from
    U+0100 on.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


@cache
def _bytes_of_letters() -> dict[str, bytes]:
    return {letter: bytes([byte]) for byte, letter in enumerate(_letters())}
