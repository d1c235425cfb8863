"""Log probabilities of text completions: parallel lists, and offsets in the text."""

import codecs

from pilotlight.api.endpoints.openai import finite
from pilotlight.output.events import ContentDelta
from pilotlight.schema.completions import CompletionLogprobs
from pilotlight_backend import Token


class TextLogprobs:
    """Follows the text of one choice, to know each token's offset in it."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._read = 0
        """Characters that the tokens so far have come to."""
        self._told = 0
        """Characters of the text so far."""

    def of(self, content: ContentDelta) -> CompletionLogprobs:
        """Return the log probabilities of *content*'s tokens, without those of a stop after it."""
        self._told += len(content.text)
        if not content.tokens:  # the prompt, or the rest of tokens that are counted already
            self._read = self._told
        if content.text:
            placed = [(self._place(token), token) for token in content.tokens]
            tokens = [(offset, token) for offset, token in placed if offset < self._told]
        else:  # tokens that are no text
            tokens = [(self._told, token) for token in content.tokens]
        return CompletionLogprobs(
            tokens=[name_of(token.piece) for _, token in tokens],
            token_logprobs=[finite(token.logprob) for _, token in tokens],
            top_logprobs=[_top(token) for _, token in tokens],
            text_offset=[offset for offset, _ in tokens],
        )

    def _place(self, token: Token) -> int:
        """Return the offset of *token*; inside a character that of the character."""
        place = self._read
        self._read += len(self._utf8.decode(token.piece))
        return place


def name_of(piece: bytes) -> str:
    r"""Return a token's name: its text, or OpenAI's `bytes:\xe2\x82` where it has none."""
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)


def _top(token: Token) -> dict[str, float]:
    """Return the likeliest tokens and *token* by name; of two with one name the likelier."""
    top: dict[str, float] = {}
    for one in token.candidates:
        top.setdefault(name_of(one.piece), finite(one.logprob))
    top.setdefault(name_of(token.piece), finite(token.logprob))
    return top
