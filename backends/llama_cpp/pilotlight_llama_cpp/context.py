"""The KV cache and the computation over it: a `llama_context` with a sequence for each slot."""

import ctypes
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pilotlight_backend import (
    Adapter,
    Guide,
    InferenceFailed,
    LoadFailed,
    LoadOptions,
    Token,
)
from pilotlight_backend.prompt_cache.buffers import allocate
from pilotlight_llama_cpp import logs
from pilotlight_llama_cpp.abort_flag import AbortFlag
from pilotlight_llama_cpp.attention_params import set_attention
from pilotlight_llama_cpp.batch import Decoded, Run, Tokens
from pilotlight_llama_cpp.greedy import Greedy, likeliest
from pilotlight_llama_cpp.image_batch import ImageBatch, ImageTraits
from pilotlight_llama_cpp.model import LlamaModel
from pilotlight_llama_cpp.sampling import Sampler
from pilotlight_llama_cpp.speculation import drafted_rows
from pilotlight_llama_cpp.whole_states import split

if TYPE_CHECKING:  # numpy takes a tenth of a second to import, and few requests need it
    from pilotlight_backend.logits import Logits

_CELLS = 256
"""llama.cpp rounds the length of a KV stream up to a multiple of this (`llama_context` constructor
in llama-context.cpp, GGML_PAD)."""


class _WarmRun(NamedTuple):
    slot: int = 0
    start: int = 0
    tokens: tuple[int, ...] = (0,)
    outputs: int = 1
    image: None = None
    reach: int = 1


class LlamaContext:
    """One `llama_context` and one batch for all steps. The engine's thread alone uses it."""

    def __init__(
        self,
        model: LlamaModel,
        abort: AbortFlag,
        *,
        context_length: int,
        options: LoadOptions,
        threads: int,
        images: ImageTraits | None = None,
    ) -> None:
        """*context_length* is the tokens of a slot; *options* have the rest.

        *images* is what a batch of images is like, for a model that sees.
        """
        self._model = model
        self._abort = abort
        self._lib = model.lib
        slots = self._streams = options.parallel
        self._room = options.chunk + slots
        if images is not None and not images.is_causal:
            # A batch without causal attention must be one ubatch: else llama.cpp aborts.
            self._room = max(self._room, images.most_rows)
        self.length = -(-context_length // _CELLS) * _CELLS
        """Tokens that a slot can hold."""
        self.is_movable = not model.sliding_window
        """Whether `states` has all that slots hold. Of a sliding window `warm` finds it out."""
        params = self._lib.llama_context_default_params()
        # Without kv_unified llama.cpp divides n_ctx by n_seq_max: each stream has a part of it.
        params.n_ctx = self.length * slots
        params.n_seq_max = slots
        # A ubatch as large as a batch, so that llama.cpp does not cut a step a second time.
        params.n_batch = params.n_ubatch = self._room
        # One row of logits a slot, and those of drafts. The default, one a token, costs 300 MB at
        # 512 tokens and a vocabulary of 150,000.
        params.n_outputs_max = slots + drafted_rows(options, model)
        params.n_threads = params.n_threads_batch = threads
        set_attention(self._lib, params, options)
        params.no_perf = True
        with model.adapting, logs.complaint() as complaint:
            self._pointer: Any = self._lib.llama_init_from_model(model.pointer, params)
        if not self._pointer:
            raise LoadFailed(f"llama.cpp cannot make a context: {complaint.text}")
        self._memory = self._lib.llama_get_memory(self._pointer)
        if not self._memory:  # encoders keep no cache (llama_model::create_memory)
            self._lib.llama_free(self._pointer)
            raise LoadFailed("the model cannot generate: it keeps no cache")
        abort.watch(self._pointer)
        self._adapters: tuple[Adapter, ...] = ()
        self._greedy = Greedy()
        self._make_batch()
        self._images = None if images is None else ImageBatch(self._lib, images, self._room)

    def _make_batch(self) -> None:
        """Make the batch over arrays of ours, which a step fills by slices and not item by item."""
        room = self._room
        self._tokens: Any = (ctypes.c_int32 * room)()
        self._positions: Any = (ctypes.c_int32 * room)()
        self._slots: Any = (ctypes.c_int32 * room)()
        self._outputs: Any = (ctypes.c_int8 * room)()
        self._slot_counts = (ctypes.c_int32 * room)(*([1] * room))
        address, size = ctypes.addressof(self._slots), ctypes.sizeof(ctypes.c_int32)
        pointer = ctypes.POINTER(ctypes.c_int32)
        self._slot_pointers = (pointer * room)(
            *(ctypes.cast(address + row * size, pointer) for row in range(room))
        )
        self._batch = self._lib.llama_batch(
            n_tokens=0,
            token=self._tokens,
            embd=None,
            pos=self._positions,
            n_seq_id=self._slot_counts,
            seq_id=self._slot_pointers,
            logits=self._outputs,
        )

    def adapt(self, adapters: tuple[Adapter, ...]) -> None:
        """Apply *adapters*, and no others, to what is decoded next.

        A change takes microseconds, and the next decode makes its graph anew: 1 ms with a tiny
        model, 3 to 5 ms of 140 with one of 0.6B.
        """
        if adapters == self._adapters:
            return
        count = len(adapters)
        pointers = (self._lib.llama_adapter_lora_p_ctypes * count)(
            *(self._model.adapters[one.id] for one in adapters)
        )
        scales = (ctypes.c_float * count)(*(one.scale for one in adapters))
        self._lib.llama_set_adapters_lora(self._pointer, pointers, count, scales)
        self._adapters = adapters

    def decode(self, runs: Sequence[Run]) -> Decoded:
        """Evaluate *runs* in one batch. Rows are the tokens in the order of *runs*."""
        if self._images is not None and runs[0].image is not None:
            return self._decode_images(self._images, runs)
        row = 0
        for run in runs:
            count = len(run.tokens)
            end = row + count
            self._tokens[row:end] = run.tokens
            self._positions[row:end] = range(run.start, run.start + count)
            self._slots[row:end] = (run.slot,) * count
            self._outputs[row:end] = bytes(count)
            self._outputs[end - run.outputs : end] = b"\1" * run.outputs
            row = end
        self._batch.n_tokens = row
        status = self._abort.decode(self._pointer, self._batch)
        return Decoded.from_status(status)

    def _decode_images(self, images: ImageBatch, runs: Sequence[Run]) -> Decoded:
        batch = images.fill(runs)
        if images.is_causal:
            return Decoded.from_status(self._abort.decode(self._pointer, batch))
        self._lib.llama_set_causal_attn(self._pointer, False)  # noqa: FBT003
        try:
            return Decoded.from_status(self._abort.decode(self._pointer, batch))
        finally:
            self._lib.llama_set_causal_attn(self._pointer, True)  # noqa: FBT003

    def warm(self) -> None:
        """Evaluate one token, so that the first request does not meet cold pages and buffers."""
        if self.decode([_WarmRun()]) is not Decoded.DONE:
            raise LoadFailed("the warm-up failed: llama.cpp cannot decode a token")
        self.is_movable = self.is_movable or self._can_move(0)
        self.truncate(0, 0)

    def _can_move(self, slot: int) -> bool:
        """Return whether the state of *slot* can be split from that of the others."""
        try:
            return all(self.put(slot, state) for _, state in self.states([slot]))
        except InferenceFailed:
            return False

    def truncate(self, slot: int, length: int) -> bool:
        """Keep the first *length* tokens of *slot*; clear it and return False if it cannot.

        A recurrent state cannot go back, and a sliding window may have dropped tokens that the one
        at *length* attends to.
        """
        return length == self.held(slot) or self._cut(slot, length)

    def recover(self, slot: int, length: int) -> bool:
        """Keep the *length* tokens of *slot* before an aborted decode; False: it is empty now.

        llama.cpp removes the positions of the ubatch that was aborted (`decode` in
        llama-context.cpp). A batch whose slots have different numbers of tokens has several
        ubatches; those before the aborted one stay in the cache. They are removed here, since the
        logits of their last tokens are lost. A recurrent state cannot go back.
        """
        kept = length if self._model.cuttable_cache else 0
        return self._cut(slot, kept) and kept == length

    def _cut(self, slot: int, length: int) -> bool:
        lib = self._lib
        kept = length > 0 and lib.llama_memory_seq_rm(self._memory, slot, length, -1)
        if kept and self._model.sliding_window:
            # llama_memory_seq_rm returns True also if the window has dropped tokens that the next
            # one attends to; its logits would be wrong.
            seen_from = max(0, length - self._model.sliding_window)
            kept = 0 <= lib.llama_memory_seq_pos_min(self._memory, slot) <= seen_from
        if not kept:
            lib.llama_memory_seq_rm(self._memory, slot, -1, -1)
        return bool(kept) or length == 0

    def save(self, slot: int, *, partial: bool = False) -> memoryview:
        """Return the state of *slot*, for `put`, or its *partial* state, for `rewind`.

        The state is the keys and values as they are in the cache: 112 KB for each token of
        Qwen3-0.6B. Partial is what cannot be cut back: a recurrent state, or a sliding window.
        """
        size = self.state_size(slot, partial=partial)
        state = allocate(size)
        written = self._lib.llama_state_seq_get_data_ext(
            self._pointer,
            (ctypes.c_uint8 * size).from_buffer(state),
            size,
            slot,
            self._flags(partial=partial),
        )
        if written != size:
            raise InferenceFailed("llama.cpp did not return the state of a slot")
        return state

    def state_size(self, slot: int, *, partial: bool = False) -> int:
        """Return the bytes that `save` returns."""
        size: int = self._lib.llama_state_seq_get_size_ext(
            self._pointer, slot, self._flags(partial=partial)
        )
        return size

    def states(self, slots: Collection[int]) -> Iterator[tuple[int, memoryview]]:
        """Yield *slots*, each with its state for `put` in a context of another length.

        Unlike that of `save` it has all of a sliding window. Raises `InferenceFailed`.
        """
        if not self._model.sliding_window:
            yield from ((slot, self.save(slot)) for slot in slots)
        elif slots:
            try:
                yield from split(self._save_all(), slots, streams=self._streams)
            except ValueError as error:
                raise InferenceFailed(f"slots cannot be moved: {error}") from error

    def _save_all(self) -> memoryview:
        """Return the state of all slots."""
        size = self._lib.llama_state_get_size(self._pointer)
        state = allocate(size)
        target = (ctypes.c_uint8 * size).from_buffer(state)
        if self._lib.llama_state_get_data(self._pointer, target, size) != size:
            raise InferenceFailed("llama.cpp did not return the state of its slots")
        return state

    def put(self, slot: int, state: memoryview) -> int:
        """Replace what *slot* holds by *state*; return its tokens then, 0 if it was rejected.

        llama.cpp copies *state*, which may be mapped from a file. It checks the types and sizes of
        the rows and not their content: a flipped byte is accepted.
        """
        # The slot is emptied first, so that the state takes the cells that a prefill would take:
        # attention then adds them up in the same order.
        self._lib.llama_memory_seq_rm(self._memory, slot, -1, -1)
        if not self._put(slot, state, partial=False):
            self._lib.llama_memory_seq_rm(self._memory, slot, -1, -1)
            return 0
        return self.held(slot)

    def rewind(self, slot: int, length: int, state: memoryview) -> bool:
        """Cut *slot* back to the *length* tokens that it had when the partial *state* was saved.

        The rest of what it holds, keys and values, may be longer. False: it is empty now.
        """
        if self._put(slot, state, partial=True):
            self._lib.llama_memory_seq_rm(self._memory, slot, length, -1)
            if self.held(slot) == length:
                return True
        self._lib.llama_memory_seq_rm(self._memory, slot, -1, -1)
        return False

    def _put(self, slot: int, state: memoryview, *, partial: bool) -> bool:
        kind = ctypes.c_uint8 * len(state)
        # ctypes takes the address of nothing that is read-only, such as what a bucket returned.
        source = kind.from_buffer_copy(state) if state.readonly else kind.from_buffer(state)
        read = self._lib.llama_state_seq_set_data_ext(
            self._pointer, source, len(state), slot, self._flags(partial=partial)
        )
        return bool(read == len(state))

    def _flags(self, *, partial: bool) -> int:
        flags: int = self._lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY if partial else 0
        return flags

    def copy(self, source: int, target: int, length: int, state: memoryview | None = None) -> bool:
        """Copy the first *length* tokens of *source* to *target*; False: *target* is empty now.

        *state* is the partial state at *length*, if *source* holds more and cannot be cut back.

        llama.cpp copies the whole stream, at the start of the next decode (`seq_cp` and `update` in
        llama-kv-cache.cpp). Until then both slots may be truncated, but not saved or put into; a
        partial recurrent state may be put, for that memory is copied at once. The copy has the same
        cells in the same order, also those of a sliding window, so that later tokens are computed
        alike.
        """
        # In a unified cache the copy is added to the cells of *target* (`seq_cp` in
        # llama-kv-cache.cpp), which would attend to what it held before.
        self._lib.llama_memory_seq_rm(self._memory, target, -1, -1)
        self._lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        if state is not None:
            return self.rewind(target, length, state)
        if self.truncate(target, length) and self.held(target) == length:
            return True
        self._lib.llama_memory_seq_rm(self._memory, target, -1, -1)
        return False

    def held(self, slot: int) -> int:
        """Return how many tokens *slot* holds."""
        last: int = self._lib.llama_memory_seq_pos_max(self._memory, slot)
        return last + 1

    def sample(self, sampler: Sampler, row: int) -> int:
        """Sample the token that follows the batch's *row*."""
        bias = sampler.greedy_bias
        if bias is not None and self._greedy.is_ready(self._model.vocabulary_size):
            return likeliest(self._logits(row), bias)
        token: int = self._lib.llama_sampler_sample(sampler.chain, self._pointer, row)
        return token

    def rest(self) -> None:
        """Use the time while nothing runs. Takes no time itself."""
        self._greedy.rest(self._model.vocabulary_size)

    def likeliest(self, row: int) -> tuple[int, float]:
        """Return the likeliest token that follows the batch's *row*, and its probability."""
        import numpy as np  # noqa: PLC0415

        logits = self._logits(row)
        token = int(logits.argmax())
        return token, 1 / float(np.exp(logits - logits[token]).sum())

    def accept(self, sampler: Sampler, token: int) -> None:
        """Have *sampler* look back on *token*; `sample` does so for its own."""
        self._lib.llama_sampler_accept(sampler.chain, token)

    def sample_guided(
        self,
        sampler: Sampler,
        row: int,
        guide: Guide | None,
        *,
        withheld: Tokens = (),
        restore: bool,
    ) -> int:
        """Sample one of the tokens that *guide* allows after *row*, and pass it to the guide.

        One of *withheld* is sampled only if nothing else is allowed. *restore* puts the model's
        logits back into the row, for `with_logprobs`. Raises `GuideFailed`.
        """
        from pilotlight_backend import guided_decoding  # noqa: PLC0415

        logits = self._logits(row)
        before = logits.copy() if restore else None
        if guide is not None:
            guided_decoding.restrict(guide, logits, self._model.suppressed)
        if withheld:
            guided_decoding.withhold(logits, withheld)
        token = self.sample(sampler, row)
        if guide is not None:
            guided_decoding.accept(guide, token, logits)
        if before is not None:
            logits[:] = before
        return token

    def with_logprobs(self, token: int, row: int, count: int) -> Token:
        """Return *token* with its log probability and those of the *count* likeliest in *row*."""
        from pilotlight_backend.logits import with_logprobs  # noqa: PLC0415

        return with_logprobs(token, self._logits(row), count, self._model.piece)

    def _logits(self, row: int) -> "Logits":
        """Return the logits of *row*: a view of llama.cpp's memory, valid until the next decode."""
        import numpy as np  # noqa: PLC0415

        pointer = self._lib.llama_get_logits_ith(self._pointer, row)
        return np.ctypeslib.as_array(pointer, shape=(self._model.vocabulary_size,))

    def close(self) -> None:
        """Free the context; no-op the second time."""
        pointer, self._pointer = self._pointer, None
        if pointer:
            self._lib.llama_free(pointer)
