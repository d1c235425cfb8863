"""A context that starts short, and is replaced by a longer one when a sequence needs it.

The weights are mapped, so most of a load from a warm page cache is the KV cache: llama.cpp clears
it (the constructor of `llama_kv_cache`), which touches each of its pages. Four slots of 4,096
tokens of Qwen3-0.6B are 1.9 GB and took 0.9 s of a load of 1.2 s; a quarter of them took 0.17 s.
Neither the time nor the memory is spent before a conversation is that long. So the length doubles
each time: a first prompt of 1,500 tokens waited 1.5 s for the whole, 0.5 to 0.7 s for 2,048.

Slots are moved with every cell in its place, so that what follows is computed to the bit as in a
context of full length.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple, Protocol

from pilotlight_backend import (
    Adapter,
    BackendError,
    Guide,
    LoadFailed,
    SamplingParams,
    Token,
)
from pilotlight_backend.baking import MappedPrompt
from pilotlight_llama_cpp.abort_flag import AbortFlag
from pilotlight_llama_cpp.batch import Decoded, Run, Tokens
from pilotlight_llama_cpp.context_lengths import ahead
from pilotlight_llama_cpp.decoder import FixedContext
from pilotlight_llama_cpp.model import LlamaModel
from pilotlight_llama_cpp.sampling import Sampler, Samplers

logger = logging.getLogger("pilotlight.llama_cpp")

_REMEDY = (
    "a lower context_length or parallel needs less memory, and so do keys and values of q8_0"
    " (cache_type_k, cache_type_v)"
)

_POLL = 0.1
"""Seconds between two looks at the abort flag while a longer context is made. llama.cpp cannot stop
that, and the flag is C memory without an event to wait for."""


class MakeContext(Protocol):
    """Makes a context of a length; any thread. Raises `LoadFailed`."""

    def __call__(self, length: int) -> FixedContext:
        """Make it."""


class _Copy(NamedTuple):
    """A copy between slots that llama.cpp makes at the start of the next decode."""

    source: int
    target: int
    length: int
    state: memoryview | None
    """The partial state at the *length*, of a source that cannot be cut back."""


class _Making(NamedTuple):
    """A longer context that is being made on another thread."""

    length: int
    context: Future[FixedContext]


class GrowingContext:
    """One context at a time, and its model. The engine's thread alone uses it."""

    def __init__(
        self,
        model: LlamaModel,
        abort: AbortFlag,
        make: MakeContext,
        *,
        slots: int,
        lengths: tuple[int, ...],
    ) -> None:
        """*lengths* are the tokens that a slot can hold, at first and after each time it grows.

        *abort* stops what any of the contexts computes.
        """
        self.abort = abort
        self._model = model
        self._make = make
        self._slots = slots
        self._lengths = lengths
        self._full = lengths[-1]
        self.shortage = ""
        """Why a decode was `TOO_SHORT`, and what would help; for clients."""
        self._context = make(lengths[0])
        self._maker = ThreadPoolExecutor(1, "llama.cpp context")
        self._making: _Making | None = None
        self._samplers = Samplers(model, context_length=self._full)
        self._vocabulary: dict[int, tuple[bytes, bool]] = {}
        self._baked: MappedPrompt | None = None
        self._copies: list[_Copy] = []
        self._adapters: tuple[Adapter, ...] = ()

    # ── growing ────────────────────────────────────────────────────────────────────────────────

    @property
    def length(self) -> int:
        """How many tokens a slot can hold in the longest context."""
        return self._full

    @property
    def room(self) -> int:
        """How many tokens a slot can hold without waiting for a longer context."""
        making = self._making
        if making is not None and making.context.done():
            return making.length
        return self._context.length

    def expect(self, length: int) -> None:
        """Begin to make a longer context, on another thread, if *length* tokens may need it."""
        current = self._context.length
        if current < self._full and length > current - ahead(current):
            self._longer(length)

    def _longer(self, reach: int) -> _Making:
        """Return the context that is being made for *reach* tokens; begin it if there is none."""
        if self._making is not None and self._making.length < min(reach, self._full):
            self._discard()
        if self._making is None:
            length = self._length_for(reach)
            self._making = _Making(length, self._maker.submit(self._make, length))
        return self._making

    def _length_for(self, reach: int) -> int:
        """Return the length of the next context, in which *reach* tokens do not soon need more."""
        current = self._context.length
        longer = [length for length in self._lengths if length > current]
        return next((one for one in longer if reach <= one - ahead(one)), self._full)

    def _discard(self) -> None:
        """Free the context that is being made, when it is."""
        making, self._making = self._making, None
        if making is not None and not making.context.cancel():
            making.context.add_done_callback(_close_made)

    def _is_aborted_meanwhile(self, reach: int) -> bool:
        """Wait for the longer context; return whether the step was aborted before it was made."""
        making = self._longer(reach)
        while not wait([making.context], _POLL).done:
            if self.abort.is_set():
                return True
        return False

    def _grow(self, reach: int) -> bool:
        """Move every slot into a context for *reach* tokens; False if that cannot be made."""
        making, self._making = self._longer(reach), None
        try:
            grown = making.context.result()
        except (LoadFailed, MemoryError) as error:
            return self._stay_short(making.length, str(error))
        if reason := self._move_into(grown):
            grown.close()
            return self._stay_short(making.length, reason)
        self._context.close()
        self._context = grown
        logger.info("the context has grown to %d tokens a slot", making.length)
        return True

    def _stay_short(self, length: int, reason: str) -> bool:
        """Record why there is no context of *length* tokens; return False."""
        problem = f"the context cannot grow to {length} tokens a slot: {reason}"
        logger.error("%s; %s", problem, _REMEDY)
        self.shortage = f"{problem}; {_REMEDY}"
        return False

    def _move_into(self, grown: FixedContext) -> str:
        """Move what every slot holds into *grown*; return why that failed, "" if it did not."""
        try:
            return "" if self._is_moved_into(grown) else "it refuses a slot's state"
        except (BackendError, MemoryError) as error:
            return f"a slot's state cannot be moved: {error}"

    def _is_moved_into(self, grown: FixedContext) -> bool:
        """Move what every slot holds into *grown*; False if that refuses a slot's state."""
        # The target of a pending copy has no state to save yet: the copy is repeated in *grown*,
        # unless the slot was emptied since.
        copies = [copy for copy in self._copies if self._context.held(copy.target)]
        targets = {copy.target for copy in copies}
        held = {
            slot: self._context.held(slot) for slot in range(self._slots) if slot not in targets
        }
        moved = [slot for slot, tokens in held.items() if tokens]
        for slot, state in self._context.states(moved):
            if grown.put(slot, state) != held[slot]:
                return False
            del state  # before the next one is made: `context_lengths` counts one
        if not all(grown.copy(*copy) for copy in copies):
            return False
        self._copies = copies
        return True

    def adapt(self, adapters: tuple[Adapter, ...]) -> None:
        """Apply *adapters*, and no others, to what is decoded next."""
        self._adapters = adapters

    def detach(self) -> None:
        """Apply no adapter, from now on: one of those that were is about to be freed."""
        self._adapters = ()
        self._context.adapt(())

    def decode(self, runs: Sequence[Run]) -> Decoded:
        """Evaluate *runs* in one batch, in the longer context if they need it."""
        reach = max(run.reach for run in runs)
        self.expect(reach)
        if self._context.length < min(reach, self._full):
            if self._is_aborted_meanwhile(reach):
                return Decoded.ABORTED
            if not self._grow(reach):
                return Decoded.TOO_SHORT
        self._copies.clear()  # llama.cpp makes them in this decode, also if the decode fails
        self._context.adapt(self._adapters)
        return self._context.decode(runs)

    # ── the baked prompt ───────────────────────────────────────────────────────────────────────

    def adopt(self, baked: MappedPrompt) -> bool:
        """Keep *baked* for `restore`, and put it into the first slot.

        Returns False if llama.cpp rejects the state; *baked* is then the caller's to close.
        """
        self._baked = baked
        if not self.restore(0):
            self._baked = None
        return self._baked is not None

    def restore(self, slot: int) -> bool:
        """Replace what *slot* holds by the baked prompt; False: the slot is empty now."""
        if self._baked is None:
            raise AssertionError("only an adopted prompt is restored")
        return self.put(slot, self._baked.state, len(self._baked.tokens))

    # ── states ─────────────────────────────────────────────────────────────────────────────────

    def put(self, slot: int, state: memoryview, length: int) -> bool:
        """Replace what *slot* holds by the *state* of *length* tokens; False: it is empty now."""
        if not self.is_settled(slot):
            # A failed step can leave a pending copy: it would copy the state, or overwrite it.
            self._context.truncate(slot, 0)
            return False
        if self._context.length <= length and self._context.length < self._full:
            self._context.truncate(slot, 0)
            if not self._grow(length + 1):
                return False
        if self._context.put(slot, state) == length:
            return True
        self._context.truncate(slot, 0)
        return False

    def is_settled(self, slot: int) -> bool:
        """Return whether *slot* can be saved and put into: it is in no pending copy."""
        return not any(slot in (copy.source, copy.target) for copy in self._copies)

    def save(self, slot: int, *, partial: bool = False) -> memoryview:
        """Return the state of *slot*, or only the part of it that cannot be cut back."""
        return self._context.save(slot, partial=partial)

    def state_size(self, slot: int) -> int:
        """Return the bytes of the whole state of *slot*."""
        return self._context.state_size(slot)

    def rewind(self, slot: int, length: int, state: memoryview) -> bool:
        """Cut *slot* back to where its partial *state* was saved; False: it is empty now."""
        return self._context.rewind(slot, length, state)

    # ── passed to the context or the model ────────────────────────────────────────────────────────

    def warm(self) -> None:
        """Evaluate one token, so that the first request does not meet cold pages and buffers.

        A context whose slots cannot be moved is replaced by one of full length.
        """
        self._context.warm()
        if self._context.length < self._full and not self._context.is_movable:
            logger.info("the context starts in full length: its slots cannot be moved")
            self._context.close()
            self._context = self._make(self._full)
            self._context.warm()

    def truncate(self, slot: int, length: int) -> bool:
        """Keep the first *length* tokens of *slot*; False if it had to be cleared."""
        return self._context.truncate(slot, length)

    def recover(self, slot: int, length: int) -> bool:
        """Keep the *length* tokens of *slot* before an aborted decode; False: it is empty now."""
        if any(slot == copy.target for copy in self._copies):
            # The step ended before llama.cpp made the copy. Until it does, the source may be cut
            # back for another request, and then a longer context could not repeat the copy.
            self._context.truncate(slot, 0)
            return False
        return self._context.recover(slot, length)

    def copy(self, source: int, target: int, length: int, state: memoryview | None = None) -> bool:
        """Copy the first *length* tokens of *source* to *target*; False: that is empty now."""
        copied = self._context.copy(source, target, length, state)
        self._copies.append(_Copy(source, target, length, state))
        return copied

    def sampler(self, params: SamplingParams, prompt: tuple[int, ...]) -> Sampler:
        """Make a request's sampler; the caller closes it."""
        return self._samplers.make(params, prompt)

    def sampler_beside(
        self, params: SamplingParams, prompt: tuple[int, ...]
    ) -> Future[Sampler] | None:
        """Begin to make one on another thread; None if `sampler` takes no time."""
        return self._samplers.make_beside(params, prompt)

    def sample(self, sampler: Sampler, row: int) -> int:
        """Sample the token that follows the batch's *row*."""
        return self._context.sample(sampler, row)

    def rest(self) -> None:
        """Use the time while nothing runs. Takes no time itself."""
        self._context.rest()

    def likeliest(self, row: int) -> tuple[int, float]:
        """Return the likeliest token that follows the batch's *row*, and its probability."""
        return self._context.likeliest(row)

    def accept(self, sampler: Sampler, token: int) -> None:
        """Have *sampler* look back on *token*, which was not sampled."""
        self._context.accept(sampler, token)

    def sample_guided(
        self,
        sampler: Sampler,
        row: int,
        guide: Guide | None,
        *,
        withheld: Tokens = (),
        restore: bool,
    ) -> int:
        """Sample a token that *guide* allows; *restore* the row's logits afterwards."""
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
        self._discard()
        self._maker.shutdown()
        self._context.close()
        if self._baked:
            self._baked.close()
        self._model.close()


def _close_made(made: Future[FixedContext]) -> None:
    """Close a context that is not needed any more; any thread."""
    if made.exception() is None:
        made.result().close()
