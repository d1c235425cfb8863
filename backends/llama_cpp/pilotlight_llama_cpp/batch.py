"""What goes into a decode, and how one ends."""

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from pilotlight_llama_cpp.media import ImageRows

Tokens: TypeAlias = Sequence[int]


class Decoded(Enum):
    """How a decode ended."""

    DONE = "done"
    REFUSED = "refused"
    """Nothing was evaluated, the cache is as it was: no room, or a batch that llama.cpp rejects."""
    TOO_SHORT = "too short"
    """Nothing was evaluated: the context cannot grow to what the batch needs."""
    ABORTED = "aborted"
    """The computation was stopped. `recover` the batch's slots."""
    BROKEN = "broken"
    """The cache of the batch's slots is in an unknown state."""

    @classmethod
    def from_status(cls, status: int) -> "Decoded":
        """Return what `llama_decode` reports by *status*.

        llama.h: 0 is success, 1 no KV slot for the batch, -1 an invalid batch, 2 aborted. Any other
        one leaves a part of the batch in the cache.
        """
        return _BY_STATUS.get(status, cls.BROKEN)


_BY_STATUS = {0: Decoded.DONE, 1: Decoded.REFUSED, -1: Decoded.REFUSED, 2: Decoded.ABORTED}


class Run(Protocol):
    """Tokens in a batch that follow each other in one slot."""

    @property
    def slot(self) -> int:
        """The slot's number."""

    @property
    def start(self) -> int:
        """The first token's position."""

    @property
    def tokens(self) -> Tokens:
        """The tokens, at least one; of an image what its slot holds more when it is complete."""

    @property
    def image(self) -> "ImageRows | None":
        """What is evaluated in the place of the tokens; a batch has either."""

    @property
    def reach(self) -> int:
        """Cells of the KV cache that the slot takes afterwards."""

    @property
    def outputs(self) -> int:
        """How many of the last tokens' logits are wanted."""
