"""The fake's tokeniser: a token for each byte of UTF-8, then special tokens, then the reply's."""

import re
from collections.abc import Iterable, Sequence

from pilotlight_backend.testing.fake_model import FakeModel, Piece

CONTROL_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
USER_DEFINED_TOKENS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
"""Tokens of their own that are text, as in the vocabularies of models."""
SPECIAL_TOKENS = (*CONTROL_TOKENS, *USER_DEFINED_TOKENS)
FIRST_SPECIAL = 256


class FakeTokenizer:
    """A vocabulary of pieces by id: the bytes 0…255, special tokens, and pieces of a reply."""

    def __init__(self, special_tokens: Iterable[str] = (), pieces: Iterable[bytes] = ()) -> None:
        names = dict.fromkeys(name for name in (*SPECIAL_TOKENS, *special_tokens) if name)
        self.special = {name: FIRST_SPECIAL + index for index, name in enumerate(names)}
        self._pieces = [bytes([byte]) for byte in range(FIRST_SPECIAL)]
        self._pieces += [_encode(name) for name in names]
        self._ids = {piece: token for token, piece in enumerate(self._pieces)}
        # The longest name first, so that a name which starts like another one is still found.
        longest = sorted(self.special, key=len, reverse=True)
        self._names = re.compile(f"({'|'.join(map(re.escape, longest))})")
        for piece in pieces:
            self._add(piece)

    @property
    def size(self) -> int:
        """How many ids there are; they start at 0."""
        return len(self._pieces)

    @property
    def control(self) -> frozenset[str]:
        """The names of the special tokens that are no text."""
        return frozenset(self.special).difference(USER_DEFINED_TOKENS)

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Return the ids of *text*; a surrogate, which UTF-8 cannot say, becomes `?`."""
        if not special:
            return list(_encode(text))
        ids: list[int] = []
        for part in self._names.split(text):
            token = self.special.get(part)
            ids += _encode(part) if token is None else (token,)
        return ids

    def id_of(self, piece: bytes) -> int:
        """Return the id of the token whose bytes are *piece*; raises `KeyError`."""
        return self._ids[piece]

    def piece(self, token: int) -> bytes:
        """Return the bytes that *token* stands for."""
        return self._pieces[token]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of *ids*, special tokens spelled out."""
        return b"".join(map(self.piece, ids)).decode("utf-8", "replace")

    def _add(self, piece: bytes) -> None:
        if piece not in self._ids:
            self._ids[piece] = len(self._pieces)
            self._pieces.append(piece)


def tokenizer_of(model: FakeModel) -> FakeTokenizer:
    """Make the tokeniser of *model*: its special tokens are named, its reply's pieces have ids."""
    return FakeTokenizer(
        (model.bos_token, model.eos_token, *model.special_tokens), _pieces(model.reply)
    )


def reply_of(model: FakeModel, tokenizer: FakeTokenizer, prompt: Sequence[int]) -> list[int]:
    """Return the ids that *model* answers *prompt* with, without the one that ends the answer."""
    for line in model.script:
        if re.search(line.when, tokenizer.decode(prompt)):
            return tokenizer.encode(line.reply, special=True)
    if model.reply is None:
        return last_user(tokenizer, prompt)
    if isinstance(model.reply, str):
        return tokenizer.encode(model.reply, special=True)
    return [tokenizer.id_of(piece) for piece in _pieces(model.reply)]


def last_user(tokenizer: FakeTokenizer, prompt: Sequence[int]) -> list[int]:
    """Return the ids of the last user's text; of the whole prompt where it is no ChatML."""
    opening = [tokenizer.special["<|im_start|>"], *b"user\n"]
    closing = tokenizer.special["<|im_end|>"]
    for start in range(len(prompt) - len(opening), -1, -1):
        if list(prompt[start : start + len(opening)]) == opening:
            text = list(prompt[start + len(opening) :])
            return text[: text.index(closing)] if closing in text else text
    return list(prompt)


def _pieces(reply: str | tuple[str | Piece, ...] | None) -> list[bytes]:
    if reply is None or isinstance(reply, str):
        return []
    return [piece.base64 if isinstance(piece, Piece) else _encode(piece) for piece in reply]


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "replace")
