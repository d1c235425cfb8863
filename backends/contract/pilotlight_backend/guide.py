"""How the service restricts the tokens that an engine samples."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

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


class Forced(Struct, frozen=True, gc=False):
    """What must come next in a sequence, whichever tokens spell it."""

    text: bytes = b""
    """Empty if there is more than one way to continue."""
    end: bool = False
    """Whether only an end-of-generation token may come."""


@runtime_checkable
class ForcingGuide(Guide, Protocol):
    """A guide that knows what must come, so that the engine evaluates it in one step.

    The guide returns bytes, because the engine alone knows how its model spells them. For forced
    tokens no mask is computed and no token is sampled: the engine calls `accept`, not `restrict`.
    """

    def forced(self) -> Forced:
        """Return what must come next."""

    def admits(self, tokens: Sequence[int]) -> int:
        """Return how many of *tokens* may come next, one after the other; advance by none."""
