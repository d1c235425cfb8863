"""How the service restricts the tokens that an engine samples."""

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:  # the contract's values are importable without numpy
    from pilotlight_backend.logits import Logits


class Vocabulary(Struct, frozen=True):
    """A model's tokens. *pieces* are their bytes, indexed by id; special tokens are spelled out."""

    pieces: tuple[bytes, ...]
    ends: frozenset[int]
    """The end-of-generation tokens."""


class Guide(Protocol):
    """Restricts one sequence, token by token.

    The engine calls `restrict`, samples, then calls `accept`, all on its own thread; it need not be
    thread-safe. An exception ends the request with `Failed(GuideFailed)`, and no other request.
    `guided_decoding` makes these calls with the checks that they need.
    """

    def restrict(self, logits: "Logits") -> None:
        """Set the logit of every token that may not come next to minus infinity, in place.

        *logits* is one row, before any stage of sampling. At least one logit stays finite.
        """

    def accept(self, token: int) -> None:
        """Advance by the sampled *token*, also if it ends the sequence."""
