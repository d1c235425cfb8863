"""What the engine's thread needs of a context, and that of the contexts behind it.

Protocols, so that tests drive the thread and the growing context with fakes.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from pilotlight_backend import Adapter, Guide, SamplingParams, Token
from pilotlight_llama_cpp.batch import Decoded, Run, Tokens
from pilotlight_llama_cpp.engine_thread import Flag


class SlotDecoder(Protocol):
    """A KV cache of slots, and the computation over it. The engine's thread alone uses it."""

    def adapt(self, adapters: tuple[Adapter, ...]) -> None:
        """Apply these adapters, and no others, to what is decoded next."""

    def decode(self, runs: Sequence[Run], /) -> Decoded:
        """Evaluate a batch; `ABORTED` if the abort flag is set meanwhile."""

    def truncate(self, slot: int, length: int) -> bool:
        """Keep a slot's first *length* tokens; False if it had to be cleared."""

    def recover(self, slot: int, length: int) -> bool:
        """Keep what a slot held before an aborted decode; False if it had to be cleared."""

    def copy(self, source: int, target: int, length: int, state: memoryview | None = None) -> bool:
        """Copy a slot's first tokens into another one at the next decode; False: that is empty.

        *state* is the partial state at *length*, if the source cannot be cut back to it.
        """

    def save(self, slot: int, *, partial: bool = False) -> memoryview:
        """Return the state of a slot, or only the part of it that cannot be cut back."""

    def state_size(self, slot: int) -> int:
        """Return the bytes of a slot's whole state."""

    def rewind(self, slot: int, length: int, state: memoryview) -> bool:
        """Cut a slot back to where its partial *state* was saved; False: it is empty now."""

    def sample(self, sampler: Any, row: int) -> int:
        """Sample the token that follows a row of the batch."""

    def sample_guided(
        self,
        sampler: Any,
        row: int,
        guide: Guide | None,
        *,
        withheld: Tokens = (),
        restore: bool,
    ) -> int:
        """Sample a token that *guide* allows, and one of *withheld* only if nothing else is left.

        *restore* the row's logits for `with_logprobs`.
        """

    def accept(self, sampler: Any, token: int) -> None:
        """Have *sampler* look back on *token*, which was not sampled."""

    def with_logprobs(self, token: int, row: int, count: int) -> Token:
        """Return a token of a row with its log probability and those of the likeliest."""

    def close(self) -> None:
        """Free everything."""

    def rest(self) -> None:
        """Use the time while nothing runs; takes no time."""


class FixedContext(SlotDecoder, Protocol):
    """A context of one length: `LlamaContext`."""

    @property
    def length(self) -> int:
        """Tokens that a slot can hold."""

    @property
    def is_movable(self) -> bool:
        """Whether `states` has all that slots hold; known once the context is warm."""

    def warm(self) -> None:
        """Evaluate one token."""

    def states(self, slots: Collection[int]) -> Iterator[tuple[int, memoryview]]:
        """Yield slots, each with its state for `put` in a context of another length."""

    def put(self, slot: int, state: memoryview) -> int:
        """Put a state into a slot; return how many tokens the slot holds then."""

    def held(self, slot: int) -> int:
        """Return how many tokens a slot holds."""

    def likeliest(self, row: int) -> tuple[int, float]:
        """Return the likeliest token that follows a row of the batch, and its probability."""


class GenerationDecoder(SlotDecoder, Protocol):
    """What `GenerationThread` uses: `GrowingContext`."""

    @property
    def abort(self) -> Flag:
        """What stops a decode."""

    @property
    def room(self) -> int:
        """How many tokens a slot can hold without waiting for a longer context."""

    @property
    def shortage(self) -> str:
        """Why a decode was `TOO_SHORT`, and what would help."""

    def expect(self, length: int) -> None:
        """Prepare for a sequence of at least *length* tokens."""

    def is_settled(self, slot: int) -> bool:
        """Return whether a slot can be saved and put into: it is in no pending copy."""

    def put(self, slot: int, state: memoryview, length: int) -> bool:
        """Replace what a slot holds by the state of *length* tokens; False: it is empty now."""

    def restore(self, slot: int) -> bool:
        """Replace what a slot holds by the baked prompt; False: it is empty now."""

    def sampler(self, params: SamplingParams, prompt: tuple[int, ...]) -> Any:
        """Make a sampler, which has a `close`."""

    def sampler_beside(
        self, params: SamplingParams, prompt: tuple[int, ...]
    ) -> "Future[Any] | None":
        """Begin to make one on another thread; None if `sampler` takes no time."""

    def token(self, token: int) -> tuple[bytes, bool]:
        """Return a token's bytes and whether it ends a generation."""
