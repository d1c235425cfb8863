"""Whether an answer is within a thought, token by token."""

from pilotlight.output.reasoning import ReasoningParser
from pilotlight.output.text import TextDecoder


class ThoughtWatch:
    """Follows an answer in the reasoning format *name*; None writes no thoughts.

    *opened* says that the prompt has opened one.
    """

    def __init__(self, name: str | None, *, opened: bool) -> None:
        self._text = TextDecoder()
        self._parser = None if name is None else ReasoningParser(name, opened=opened)

    def feed(self, piece: bytes) -> None:
        """Take a token's bytes."""
        if self._parser is not None and (text := self._text.feed(piece)):
            self._parser.feed(text)

    @property
    def sure(self) -> bool:
        """Whether it is within a thought, and is not about to end it."""
        return self._parser is not None and self._parser.thinking
