"""What may come next: how the service restricts the tokens that an engine chooses."""

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:  # numpy is the backends': the contract's values do without it
    from pilotlight_backend.logits import Logits


class Vocabulary(Struct, frozen=True):
    """A model's tokens. *pieces* are their bytes, by id, special tokens spelled out."""

    pieces: tuple[bytes, ...]
    ends: frozenset[int]
    """The tokens that end a generation."""


class Guide(Protocol):
    """Restricts one sequence, token by token. The engine's thread calls it, and nobody else.

    What it raises ends its request with `Failed(InferenceFailed)`, and no other one.
    """

    def restrict(self, logits: "Logits") -> None:
        """Set the score of every token that may not come next to minus infinity, in place.

        *logits* are one row, before any stage of sampling; at least one score stays finite.
        """

    def accept(self, token: int) -> None:
        """Be told the token that was chosen; a token that ends the sequence too."""
