"""The computation of embeddings: a `llama_context` that pools each sequence into one vector."""

import ctypes
from array import array
from collections.abc import Sequence
from typing import Any

from pilotlight_backend import InferenceFailed, LoadFailed
from pilotlight_backend.vectors import unit
from pilotlight_llama_cpp import logs
from pilotlight_llama_cpp.context import OUTCOMES, Decoded
from pilotlight_llama_cpp.model import Model
from pilotlight_llama_cpp.packing import Part
from pilotlight_llama_cpp.probe import ENCODERS, Pooling

_SEQUENCES = 64
"""Inputs in one batch: with a chunk of 512 tokens, inputs of eight tokens still fill it."""


class EmbeddingContext:
    """One `llama_context` and one batch for all steps. The engine's thread alone uses it."""

    def __init__(
        self, model: Model, architecture: str, *, context_length: int, chunk: int, threads: int
    ) -> None:
        self._model = model
        self._lib = model.lib
        self.embedding_length: int = self._lib.llama_model_n_embd_out(model.pointer)
        pooling = _pooling(model, architecture)
        # Attention that looks ahead, and pooling over more than the last token, need the whole
        # input in one micro-batch: llama.cpp ends the process where it does not fit (encode and
        # decode in llama-context.cpp), and would else pool the last micro-batch alone. The same
        # rule as llama-server's, server_slot::can_split in tools/server/server-context.cpp.
        in_parts = pooling is Pooling.LAST and _is_causal(model, architecture)
        self.part = chunk if in_parts else max(chunk, context_length)
        """Tokens of one input that are evaluated at once, at the most."""
        params = self._lib.llama_context_default_params()
        params.embeddings = True
        params.pooling_type = pooling.value
        params.n_ctx = max(chunk, context_length)
        params.n_batch = params.n_ubatch = self.part
        self.sequences = min(_SEQUENCES, self._lib.llama_max_parallel_sequences())
        params.n_seq_max = self.sequences
        # One stream for all: of several, llama.cpp takes as many tokens of each sequence as the
        # shortest has (split_equal), so that a pooled sequence would come in pieces.
        params.kv_unified = True
        params.n_threads = params.n_threads_batch = threads
        params.no_perf = True
        with logs.complaint() as complaint:
            self._pointer: Any = self._lib.llama_init_from_model(model.pointer, params)
        if not self._pointer:
            raise LoadFailed(f"llama.cpp made no context: {complaint.text}")
        self._memory = self._lib.llama_get_memory(self._pointer)
        self._make_batch()

    def _make_batch(self) -> None:
        """Take llama.cpp's own batch, its arrays as arrays of ours."""
        room = self.part
        self._batch = self._lib.llama_batch_init(room, 0, 1)

        def array_at(pointer: Any, kind: Any) -> Any:
            return (kind * room).from_address(ctypes.addressof(pointer.contents))

        self._tokens = array_at(self._batch.token, ctypes.c_int32)
        self._positions = array_at(self._batch.pos, ctypes.c_int32)
        for row in range(room):
            self._batch.n_seq_id[row] = 1
            self._batch.logits[row] = 1  # each token counts in a mean; llama.cpp demands all

    def decode(self, parts: Sequence[Part]) -> Decoded:
        """Evaluate *parts* in one batch; each sequence begins anew with the part at its start."""
        if self._memory and not any(part.start for part in parts):
            self._lib.llama_memory_clear(self._memory, False)  # noqa: FBT003 - C's order
        row = 0
        for part in parts:
            end = row + len(part.tokens)
            self._tokens[row:end] = part.tokens
            self._positions[row:end] = range(part.start, part.start + len(part.tokens))
            for place in range(row, end):
                self._batch.seq_id[place][0] = part.sequence
            row = end
        self._batch.n_tokens = row
        # Of models without a cache llama_decode encodes.
        status = self._lib.llama_decode(self._pointer, self._batch)
        return OUTCOMES.get(status, Decoded.BROKEN)

    def vector(self, sequence: int) -> "array[float]":
        """Return the vector of the input that was *sequence* of the last batch, of length 1."""
        pointer = self._lib.llama_get_embeddings_seq(self._pointer, sequence)
        if not pointer:
            raise InferenceFailed("llama.cpp gave no embedding")
        try:
            return unit(pointer[: self.embedding_length])
        except ValueError as error:
            raise InferenceFailed(f"llama.cpp gave no embedding: {error}") from None

    def warm(self) -> None:
        """Evaluate one token, so that the first request does not meet cold pages and buffers."""
        if self.decode([Part(0, 0, (0,))]) is not Decoded.DONE:
            raise LoadFailed("llama.cpp could not evaluate a first token")

    def close(self) -> None:
        """Free context and model; no-op the second time."""
        pointer, self._pointer = self._pointer, None
        if pointer:
            self._lib.llama_batch_free(self._batch)
            self._lib.llama_free(pointer)
        self._model.close()


def _pooling(model: Model, architecture: str) -> Pooling:
    """Return how *model* makes one vector of many; the probe has refused what is not listed.

    Encoders whose header does not say it are pooled by the mean, as sentence-transformers does
    with a model that says nothing (SentenceTransformer._load_auto_model).
    """
    said = model.metadata_value(f"{architecture}.pooling_type")
    return Pooling(int(said)) if said and int(said) else Pooling.MEAN


def _is_causal(model: Model, architecture: str) -> bool:
    said = model.metadata_value(f"{architecture}.attention.causal")
    return architecture not in ENCODERS and said != "false"
