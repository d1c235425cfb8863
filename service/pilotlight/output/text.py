"""From the bytes of tokens to text: UTF-8 is assembled."""

import codecs


class TextDecoder:
    """Text out of token pieces.

    The bytes of a character may be spread over any number of pieces. Bytes that are not UTF-8
    become U+FFFD, as `bytes.decode` has it.
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
        """Return U+FFFD for the bytes of a character that never ended."""
        return self._utf8.decode(b"", final=True)
