"""What `GenerationThread` needs of a context; tests have a fake one."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from pilotlight_backend import Guide, SamplingParams, Token
from pilotlight_llama_cpp.batch import Decoded, Run, Tokens
from pilotlight_llama_cpp.engine_thread import Flag


class GenerationDecoder(Protocol):
    """A context whose slots hold what was evaluated. The engine's thread alone uses it."""

    @property
    def abort(self) -> Flag:
        """What stops a decode."""

    def decode(self, runs: Sequence[Run]) -> Decoded:
        """Evaluate a batch; `ABORTED` where `abort` is set meanwhile."""

    def recover(self, slot: int, length: int) -> bool:
        """Keep what a slot held before an aborted decode; False where it had to be cleared."""

    def expect(self, length: int) -> None:
        """Be told how long a sequence will be at least."""

    def truncate(self, slot: int, length: int) -> bool:
        """Keep a slot's first *length* tokens; False where it had to be cleared."""

    def restore(self, slot: int) -> bool:
        """Put the baked prompt into a slot, in place of what it held; False: it is empty now."""

    def copy(self, source: int, target: int, length: int) -> bool:
        """Give a slot the first tokens of another one; False: it is empty now."""

    def sampler(self, params: SamplingParams, prompt: tuple[int, ...]) -> Any:
        """Make a sampler, which has a `close`."""

    def sampler_beside(
        self, params: SamplingParams, prompt: tuple[int, ...]
    ) -> "Future[Any] | None":
        """Begin to make one on another thread; None where `sampler` takes no time."""

    def sample(self, sampler: Any, row: int) -> int:
        """Choose the token that follows a row of the batch."""

    def sample_guided(
        self,
        sampler: Any,
        row: int,
        guide: Guide | None,
        *,
        withheld: Tokens = (),
        restore: bool,
    ) -> int:
        """Choose one that a guide allows, and of those *withheld* one only if nothing else is left.

        *restore* the row's logits for `with_logprobs`.
        """

    def with_logprobs(self, token: int, row: int, count: int) -> Token:
        """Return a token of a row with its log probability and those of the likeliest."""

    def token(self, token: int) -> tuple[bytes, bool]:
        """Return a token's bytes and whether it ends a generation."""

    def close(self) -> None:
        """Free everything."""
