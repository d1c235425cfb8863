"""From the bytes of tokens to text: UTF-8 is assembled and stop strings are found, once."""

import codecs
from collections.abc import Sequence

from pilotlight.output.markers import Markers


class TextDecoder:
    """Text out of token pieces, up to the first of *stops*.

    The bytes of a character, and the characters of a stop, may be spread over any number of
    pieces. Bytes that are not UTF-8 become U+FFFD, as `bytes.decode` has it. Text that may be the
    beginning of a stop is held back; the text before the stop is released, the stop itself and
    all that follows are dropped. The stop that is complete first wins, so generation can end at
    once; of two that end at the same place, the longer. An empty stop raises `ValueError`.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stops = Markers(stops) if stops else None
        self._held = ""
        self._stopped: str | None = None

    @property
    def stopped(self) -> str | None:
        """The stop that was met, or None so far."""
        return self._stopped

    @property
    def pending(self) -> bool:
        """Whether bytes or text are held back."""
        return bool(self._held) or self._utf8.getstate() != (b"", 0)

    def feed(self, piece: bytes) -> str:
        """Return the text that *piece* completes; "" after a stop."""
        if self._stopped is not None:
            return ""
        text = self._utf8.decode(piece)
        return text if self._stops is None else self._until_stop(self._stops, text)

    def flush(self) -> str:
        """Return what was held back. The bytes of a character that never ended become U+FFFD."""
        if self._stopped is not None:
            return ""
        text = self._utf8.decode(b"", final=True)
        if self._stops is not None:
            text = self._until_stop(self._stops, text)
        text, self._held = text + self._held, ""
        return text

    def _until_stop(self, stops: Markers, text: str) -> str:
        text = self._held + text
        end, self._stopped = stops.find(text)
        self._held = text[end:] if self._stopped is None else ""
        return text[:end]
