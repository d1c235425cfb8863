"""The computation of vectors and scores: a `llama_context` that pools each sequence into one."""

import ctypes
import math
from collections.abc import Sequence
from typing import Any

from pilotlight_backend import Embedded, InferenceFailed, LoadFailed, LoadOptions, Scored
from pilotlight_backend.attention import uses_flash_attention
from pilotlight_backend.vectors import normalize
from pilotlight_llama_cpp import logs
from pilotlight_llama_cpp.abort_flag import AbortFlag
from pilotlight_llama_cpp.batch import Decoded
from pilotlight_llama_cpp.model import LlamaModel
from pilotlight_llama_cpp.packing import InputPart
from pilotlight_llama_cpp.servable import ENCODERS, UNSPECIFIED, Pooling

_SEQUENCES = 64
"""Most inputs in one batch: with a chunk of 512 tokens, inputs of eight tokens still fill it."""
_LOGITS_BYTES = 128 << 20
"""Most bytes of logits in a step. llama.cpp keeps a row of them for each token of a batch that
embeds, zeros if the model has none (`output_reserve` in llama-context.cpp). With a vocabulary of
152,000, steps of 220 tokens took 168 MB and steps of 512 tokens 510 MB. Only an input that must be
decoded whole may take more."""
_SCORES_BYTES = 256 << 20
"""Most bytes of a layer's attention scores; beyond them flash attention is used, which keeps none.
Twelve heads over 2,048 tokens that attend to each other take 200 MB."""
_OF_LAST = frozenset({Pooling.LAST, Pooling.RANK})
"""Kinds of pooling that take the last token alone where attention is causal (`llm_graph_input_cls`
in llama-graph.cpp)."""
_LEAST = 64
"""Fewest tokens that a step has room for, however large the vocabulary is."""


class PoolingContext:
    """One `llama_context` and one batch for all steps. The engine's thread alone uses it."""

    _pointer: Any = None

    def __init__(
        self,
        model: LlamaModel,
        abort: AbortFlag,
        architecture: str,
        *,
        context_length: int,
        threads: int,
        options: LoadOptions,
    ) -> None:
        self.abort = abort
        self._model = model
        self._lib = model.lib
        self._threads = threads
        self._options = options
        self.sequences = min(_SEQUENCES, self._lib.llama_max_parallel_sequences())
        self.step = max(_LEAST, min(options.chunk, _LOGITS_BYTES // (model.vocabulary_size * 4)))
        """Most tokens of several inputs in one batch."""
        self.part = self.step
        """Most tokens of one input in one batch."""
        whole = max(self.step, context_length)
        pooling = _pooling(model, architecture)
        of_last = pooling in _OF_LAST and architecture not in ENCODERS
        if of_last:
            self._open(pooling, cells=whole)
        if not (of_last and self._takes_parts()):
            self._free()
            self.part = whole
            self._open(pooling, cells=whole)
        self._memory = self._lib.llama_get_memory(self._pointer)
        abort.watch(self._pointer)
        self._make_batch()

    def _open(self, pooling: Pooling, *, cells: int) -> None:
        params = self._lib.llama_context_default_params()
        params.embeddings = True
        params.pooling_type = pooling.value
        params.n_ctx = cells
        params.n_batch = params.n_ubatch = self.part
        params.n_seq_max = self.sequences
        # One KV stream for all inputs: with several, an ubatch has as many tokens of each input as
        # the shortest has (`split_equal` in llama-batch.cpp), which would cut pooled sequences.
        params.kv_unified = True
        params.flash_attn_type = self._flash_attention(cells)
        params.n_threads = params.n_threads_batch = self._threads
        params.no_perf = True
        with logs.complaint() as complaint:
            self._pointer = self._lib.llama_init_from_model(self._model.pointer, params)
        if not self._pointer:
            raise LoadFailed(f"llama.cpp cannot make a context: {complaint.text}")

    def _flash_attention(self, cells: int) -> int:
        """Return whether to use flash attention.

        With `auto` it is not used if there is memory for the scores: a vector then does not depend
        on the rest of its batch, with Q8_0 weights to 1e-7. Flash attention takes other paths for
        other batches; vectors differed by up to 9e-3 on random weights.
        """
        lib, options = self._lib, self._options
        scores = lib.llama_model_n_head(self._model.pointer) * self.part * cells * 4
        kind = lib.LLAMA_FLASH_ATTN_TYPE_AUTO
        if options.flash_attention == "on":
            kind = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        elif scores <= _SCORES_BYTES or not uses_flash_attention(options):
            kind = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        return int(kind)

    def _takes_parts(self) -> bool:
        """Return whether a long input, of which the last token is pooled, may be decoded in parts.

        Attention that is not causal and models without a cache need the whole input at once:
        llama.cpp aborts the process if it does not fit an ubatch (`encode` and `decode` in
        llama-context.cpp). Other kinds of pooling would see the last part alone. llama-server has
        the same rule: `server_slot::can_split` in tools/server/server-context.cpp.
        """
        lib = self._lib
        return bool(
            lib.llama_get_memory(self._pointer) and lib.llama_get_causal_attn(self._pointer)
        )

    def _make_batch(self) -> None:
        """Make a batch, with views of its arrays that slices can be assigned to."""
        room = self.part
        self._batch = self._lib.llama_batch_init(room, 0, 1)

        def array_at(pointer: Any, kind: Any) -> Any:
            return (kind * room).from_address(ctypes.addressof(pointer.contents))

        self._tokens = array_at(self._batch.token, ctypes.c_int32)
        self._positions = array_at(self._batch.pos, ctypes.c_int32)
        for row in range(room):
            self._batch.n_seq_id[row] = 1
            self._batch.logits[row] = 1  # llama.cpp requires an output of each token, for the mean

    def decode(self, parts: Sequence[InputPart]) -> Decoded:
        """Decode *parts* in one batch; a part that starts at 0 starts a new sequence."""
        if self._memory and not any(part.start for part in parts):
            self._lib.llama_memory_clear(self._memory, False)  # noqa: FBT003 - C's order
        row = 0
        for part in parts:
            end = row + len(part.tokens)
            self._tokens[row:end] = part.tokens
            self._positions[row:end] = range(part.start, part.start + len(part.tokens))
            for index in range(row, end):
                self._batch.seq_id[index][0] = part.sequence
            row = end
        self._batch.n_tokens = row
        # For models without a cache llama_decode calls encode (llama-context.cpp).
        status = self.abort.decode(self._pointer, self._batch)
        return Decoded.from_status(status)

    def output(self, sequence: int) -> Embedded | Scored:
        """Return the output of the input that was *sequence* of the last batch.

        Raises `InferenceFailed`.
        """
        raise NotImplementedError

    def _pooled(self, sequence: int) -> Any:
        """Return a pointer to the numbers that *sequence* was pooled into."""
        pointer = self._lib.llama_get_embeddings_seq(self._pointer, sequence)
        if not pointer:
            raise InferenceFailed("llama.cpp returned no output for an input")
        return pointer

    def warm(self) -> None:
        """Evaluate one token, so that the first request does not meet cold pages and buffers."""
        if self.decode([InputPart(0, 0, (0,))]) is not Decoded.DONE:
            raise LoadFailed("the warm-up failed: llama.cpp cannot decode a token")

    def close(self) -> None:
        """Free context and model; no-op the second time."""
        if self._pointer:
            self._lib.llama_batch_free(self._batch)
        self._free()
        self._model.close()

    def _free(self) -> None:
        pointer, self._pointer = self._pointer, None
        if pointer:
            self._lib.llama_free(pointer)


class EmbeddingContext(PoolingContext):
    """A context whose outputs are vectors."""

    def output(self, sequence: int) -> Embedded:
        """Return the vector, of length 1."""
        length = self._model.embedding_length
        try:
            return Embedded(normalize(self._pooled(sequence)[:length]))
        except ValueError as error:
            raise InferenceFailed(f"llama.cpp returned no embedding: {error}") from None


class RankingContext(PoolingContext):
    """A context whose outputs are scores, as the model's classification head has them."""

    def output(self, sequence: int) -> Scored:
        """Return the first output of the head.

        It is the only one, or the probability of "yes" (`send_rerank` in llama.cpp's
        tools/server/server-context.cpp).
        """
        score = self._pooled(sequence)[0]
        if not math.isfinite(score):
            raise InferenceFailed("llama.cpp returned a score that is not finite")
        return Scored(score)


def _pooling(model: LlamaModel, architecture: str) -> Pooling:
    """Return how *model* pools token vectors; the probe has refused types that are not listed.

    The default for encoders is the mean, as in sentence-transformers for a model without a
    configuration (`SentenceTransformer._load_auto_model`).
    """
    said = int(model.metadata_value(f"{architecture}.pooling_type") or 0)
    return Pooling(said) if said and said not in UNSPECIFIED else Pooling.MEAN
