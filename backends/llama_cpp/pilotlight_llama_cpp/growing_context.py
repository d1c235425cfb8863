"""A context that starts short, and is replaced by one of full length when a sequence needs it.

Most of a load is not the weights, which are mapped, but the KV cache: llama.cpp clears it, and so
has the kernel hand out every page. Four slots of 4,096 tokens of Qwen3-0.6B are 1.9 GB, which took
0.9 s of a load of 1.2 s; a quarter of that took 0.17 s. Until a conversation is that long, neither
the time nor the memory is spent.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple, Protocol

from pilotlight_backend import Guide, LoadFailed, ModelFacts, SamplingParams, Token
from pilotlight_backend.baking import MappedPrompt
from pilotlight_llama_cpp.abort_flag import AbortFlag
from pilotlight_llama_cpp.batch import Decoded, Run, Tokens
from pilotlight_llama_cpp.model import LlamaModel
from pilotlight_llama_cpp.sampling import Sampler, Samplers

logger = logging.getLogger("pilotlight.llama_cpp")

SHORT = 1024
"""Tokens of a slot at the start."""

_LOOK = 0.1
"""Seconds between two looks at the flag while a longer context is made; that cannot be stopped."""


class FixedContext(Protocol):
    """What is replaced: a `context.LlamaContext`; a fake one stands in for it in tests."""

    @property
    def length(self) -> int:
        """Tokens that a slot holds at the most."""

    def decode(self, runs: Sequence[Run]) -> Decoded:
        """Evaluate a batch."""

    def warm(self) -> None:
        """Evaluate one token."""

    def truncate(self, slot: int, length: int) -> bool:
        """Keep a slot's first *length* tokens."""

    def recover(self, slot: int, length: int) -> bool:
        """Keep what a slot held before an aborted decode."""

    def save(self, slot: int) -> memoryview:
        """Return the state of a slot."""

    def put(self, slot: int, state: memoryview) -> int:
        """Put a state into a slot; return how many tokens it holds then."""

    def copy(self, source: int, target: int, length: int) -> bool:
        """Give a slot the first tokens of another one at the next decode."""

    def held(self, slot: int) -> int:
        """Return how many tokens a slot holds."""

    def sample(self, sampler: Sampler, row: int) -> int:
        """Choose the token that follows a row."""

    def sample_guided(
        self,
        sampler: Sampler,
        row: int,
        guide: Guide | None,
        *,
        withheld: Tokens = (),
        restore: bool,
    ) -> int:
        """Choose one that a guide allows."""

    def with_logprobs(self, token: int, row: int, count: int) -> Token:
        """Return a token with its log probability."""

    def close(self) -> None:
        """Free it."""


class MakeContext(Protocol):
    """Makes a context of a length; any thread. Raises `LoadFailed`."""

    def __call__(self, length: int) -> FixedContext:
        """Make it."""


def starts_short(
    facts: ModelFacts,
    model: LlamaModel,
    *,
    slots: int,
    gpu_layers: int,
    available_memory: int | None,
    baked: int = 0,
) -> bool:
    """Tell whether a context of *facts* is to start short.

    Not where the *baked* tokens of a prompt leave little of it; nor where half of it would be saved
    at the most; nor where what a slot holds cannot be put into another context, or would not be the
    same there: long-rope models choose their factors by the context's length; nor where the memory
    does not hold both for the moment of the change.
    """
    if baked > SHORT // 2 or facts.context_length < 2 * SHORT:
        return False
    if gpu_layers or not model.movable_cache:
        return False
    cells = (facts.context_length + SHORT) * slots
    need = facts.size_bytes + facts.kv_bytes_per_token * cells
    return available_memory is None or need <= available_memory


class _Copy(NamedTuple):
    source: int
    target: int
    length: int


class GrowingContext:
    """One context at a time, and the model behind it. The engine's thread alone uses it."""

    def __init__(
        self,
        model: LlamaModel,
        abort: AbortFlag,
        make: MakeContext,
        *,
        slots: int,
        length: int,
        short: bool,
    ) -> None:
        """*length* is what a slot may come to hold; with *short* it holds `SHORT` tokens first.

        *abort* stops what any of the contexts computes.
        """
        self.abort = abort
        self._model = model
        self._make = make
        self._slots = slots
        self._full = length
        self._context = make(SHORT if short else length)
        self._maker = ThreadPoolExecutor(1, "llama.cpp context")
        self._making: Future[FixedContext] | None = None
        self._samplers = Samplers(model, context_length=length)
        self._vocabulary: dict[int, tuple[bytes, bool]] = {}
        self._baked: MappedPrompt | None = None
        self._copies: list[_Copy] = []
        """What llama.cpp copies at the next decode."""

    # ── growing ────────────────────────────────────────────────────────────────────────────────

    def expect(self, length: int) -> None:
        """Be told that a sequence will hold *length* tokens: a longer context is made meanwhile."""
        short = self._context.length
        if short < self._full and length > short * 3 // 4:
            self._longer()

    def _longer(self) -> Future[FixedContext]:
        if self._making is None:
            self._making = self._maker.submit(self._make, self._full)
        return self._making

    def _is_aborted_meanwhile(self) -> bool:
        """Wait for the longer context; tell whether the step was aborted before there is one."""
        making = self._longer()
        while not wait([making], _LOOK).done:
            if self.abort.is_set():
                return True
        return False

    def _grow(self) -> bool:
        """Move every slot into a context of full length; False where none could be made."""
        making, self._making = self._longer(), None
        try:
            grown = making.result()
        except LoadFailed as error:
            logger.error("the context cannot grow to %d tokens: %s", self._full, error)  # noqa: TRY400 - no bug of ours to trace
            return False
        if not self._move_into(grown):
            grown.close()
            logger.error("the context cannot grow: a slot's state does not fit the longer one")
            return False
        self._context.close()
        self._context = grown
        logger.info("the context has grown to %d tokens a slot", self._full)
        return True

    def _move_into(self, grown: FixedContext) -> bool:
        """Give *grown* what every slot holds; False where it does not take it."""
        # What a copy holds is not there yet: it is copied in the other context instead, unless its
        # slot was emptied since.
        copies = [copy for copy in self._copies if self._context.held(copy.target)]
        targets = {copy.target for copy in copies}
        for slot in range(self._slots):
            held = 0 if slot in targets else self._context.held(slot)
            if held and grown.put(slot, self._context.save(slot)) != held:
                return False
        return all(grown.copy(*copy) for copy in copies)

    def decode(self, runs: Sequence[Run]) -> Decoded:
        """Evaluate *runs* in one batch, in a longer context where they need one."""
        reach = max(run.start + len(run.tokens) for run in runs)
        self.expect(reach)
        if self._context.length < min(reach, self._full):
            if self._is_aborted_meanwhile():
                return Decoded.ABORTED
            if not self._grow():
                return Decoded.REFUSED
        self._copies.clear()  # they are done with this decode, whatever comes of it
        return self._context.decode(runs)

    # ── the baked prompt ───────────────────────────────────────────────────────────────────────

    def adopt(self, baked: MappedPrompt) -> bool:
        """Keep *baked* for `restore`, and put it into the first slot.

        Where llama.cpp refuses it, that is False, and *baked* stays the caller's.
        """
        self._baked = baked
        if not self.restore(0):
            self._baked = None
        return self._baked is not None

    def restore(self, slot: int) -> bool:
        """Put the baked prompt into *slot*, in place of what it held; False: it is empty now."""
        if self._baked is None:
            raise AssertionError("only an adopted prompt is restored")
        length = len(self._baked.tokens)
        if any(slot in (copy.source, copy.target) for copy in self._copies):
            # What is put there now would be copied, or copied over. A failed step can leave that.
            self._context.truncate(slot, 0)
            return False
        if self._context.length <= length and self._context.length < self._full:
            self._context.truncate(slot, 0)
            if not self._grow():
                return False
        if self._context.put(slot, self._baked.state) == length:
            return True
        self._context.truncate(slot, 0)
        return False

    # ── what is passed on ──────────────────────────────────────────────────────────────────────

    def warm(self) -> None:
        """Evaluate one token, so that the first request does not meet cold pages and buffers."""
        self._context.warm()

    def truncate(self, slot: int, length: int) -> bool:
        """Keep the first *length* tokens of *slot*; where that cannot be, clear it: False."""
        return self._context.truncate(slot, length)

    def recover(self, slot: int, length: int) -> bool:
        """Keep what *slot* held before an aborted decode, *length* tokens; False: it is empty."""
        return self._context.recover(slot, length)

    def copy(self, source: int, target: int, length: int) -> bool:
        """Give *target* the first *length* tokens of *source*; False: it is empty now."""
        copied = self._context.copy(source, target, length)
        self._copies.append(_Copy(source, target, length))
        return copied

    def save(self, slot: int) -> memoryview:
        """Return the state of what *slot* holds."""
        return self._context.save(slot)

    def sampler(self, params: SamplingParams, prompt: tuple[int, ...]) -> Sampler:
        """Make a request's sampler; the caller closes it."""
        return self._samplers.make(params, prompt)

    def sampler_beside(
        self, params: SamplingParams, prompt: tuple[int, ...]
    ) -> Future[Sampler] | None:
        """Begin to make one on another thread; None where `sampler` takes no time."""
        return self._samplers.make_beside(params, prompt)

    def sample(self, sampler: Sampler, row: int) -> int:
        """Choose the token that follows the batch's *row*."""
        return self._context.sample(sampler, row)

    def sample_guided(
        self,
        sampler: Sampler,
        row: int,
        guide: Guide | None,
        *,
        withheld: Tokens = (),
        restore: bool,
    ) -> int:
        """Choose among the tokens that *guide* allows; *restore* the row's logits afterwards."""
        return self._context.sample_guided(sampler, row, guide, withheld=withheld, restore=restore)

    def with_logprobs(self, token: int, row: int, count: int) -> Token:
        """Return *token* with its log probability and those of the *count* likeliest in *row*."""
        return self._context.with_logprobs(token, row, count)

    def token(self, token: int) -> tuple[bytes, bool]:
        """Return a token's bytes and whether it ends a generation."""
        known = self._vocabulary.get(token)
        if known is None:
            known = self._model.piece(token), self._model.is_end(token)
            self._vocabulary[token] = known
        return known

    def close(self) -> None:
        """Free contexts, then baked prompt and model; no-op the second time."""
        self._samplers.close()
        self._maker.shutdown()
        making, self._making = self._making, None
        if making is not None and making.exception() is None:
            making.result().close()
        self._context.close()
        if self._baked:
            self._baked.close()
        self._model.close()
