"""A model's weights and vocabulary in memory."""

import ctypes
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pilotlight_backend import EngineClosed, InferenceFailed, ModelFileInvalid, Vocabulary, malloc
from pilotlight_llama_cpp import logs
from pilotlight_llama_cpp.native import library

_PIECE_BYTES = 128
_TEXT_BYTES = 1024
_LONG_ROPE = b".rope.scaling.original_context_length"
_SPELLED = True
_GUARD = "\ufdd0"
"""A Unicode noncharacter: no vocabulary merges its bytes with those of its neighbours."""


class Marks(NamedTuple):
    """Tokens around and between texts; each is empty if the header does not want it."""

    bos: tuple[int, ...]
    eos: tuple[int, ...]
    """SEP for a vocabulary without EOS."""
    sep: tuple[int, ...]


class LlamaModel:
    """A loaded `llama_model` and its vocabulary.

    `tokenize`, `vocabulary` and `close` are thread-safe; the rest is for the thread that closes it.
    """

    def __init__(self, path: Path, *, gpu_layers: int, proceed: Callable[[], None]) -> None:
        """Load the model. *proceed* is called during the load; what it raises ends the load."""
        self.lib = library()
        self.pointer: Any = self._load(path, gpu_layers, proceed)
        self.vocab = self.lib.llama_model_get_vocab(self.pointer)
        self.vocabulary_size: int = self.lib.llama_vocab_n_tokens(self.vocab)
        self.embedding_length: int = self.lib.llama_model_n_embd_out(self.pointer)
        self.sliding_window: int = self.lib.llama_model_n_swa(self.pointer)
        self.cuttable_cache: bool = not (
            self.lib.llama_model_is_recurrent(self.pointer)
            or self.lib.llama_model_is_hybrid(self.pointer)
        )
        """Whether a slot can be truncated to any length: a recurrent state cannot go back.

        A sliding window's cache is as long as the context (`swa_full` in llama.h, the default), so
        it drops nothing while it stays in its context.
        """
        # A saved state has only the window's last tokens, so a sliding window that is restored
        # cannot be truncated as one that was computed.
        self.plain_cache: bool = self.cuttable_cache and not self.sliding_window
        self.movable_cache: bool = self._has_movable_cache()
        """Whether a context may start short, and its slots be moved into a longer one."""
        self.suppressed = self._suppressed()
        self._special = (
            self.lib.LLAMA_TOKEN_ATTR_CONTROL
            | self.lib.LLAMA_TOKEN_ATTR_UNKNOWN
            | self.lib.LLAMA_TOKEN_ATTR_USER_DEFINED
        )
        self.control: tuple[int, ...] = ()
        """The control tokens; set by `read_control`."""
        self.ends: tuple[int, ...] = ()
        """The end-of-generation tokens; set by `read_control`."""
        self._in_use = threading.Lock()
        self.adapters: dict[str, Any] = {}
        """The adapters that are loaded over the weights, by their content's digest."""
        self.adapting = threading.Lock()
        """Held while an adapter is loaded or freed, and while a context is made, which walks them
        (`graph_max_nodes` in llama-context.cpp)."""

    def _load(self, path: Path, gpu_layers: int, proceed: Callable[[], None]) -> Any:
        raised: list[BaseException] = []

        def on_progress(_fraction: float, _user_data: int | None) -> bool:
            try:
                proceed()
            except BaseException as error:  # noqa: BLE001 - cannot pass through C; raised below
                raised.append(error)
            return not raised

        params = self.lib.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        params.progress_callback = self.lib.llama_progress_callback(on_progress)
        with logs.complaint() as complaint:
            pointer = self.lib.llama_model_load_from_file(os.fsencode(path), params)
        if raised:
            if pointer:
                self.lib.llama_model_free(pointer)
            raise raised[0]
        if not pointer:
            raise ModelFileInvalid(path, f"llama.cpp cannot load it: {complaint.text}")
        return pointer

    def _has_movable_cache(self) -> bool:
        """Return whether a slot is the same to the bit in a longer context, and that saves memory.

        Long-rope models choose their rope factors by the context length (`get_rope_factors` in
        llama-model.cpp). A recurrent state takes the same memory with each length. Beside one, the
        state of a sliding window has its last tokens alone, which take other cells than before.
        """
        if self.lib.llama_model_is_recurrent(self.pointer):
            return False
        if self.sliding_window and not self.cuttable_cache:
            return False
        return not any(key.endswith(_LONG_ROPE) for key in self.metadata())

    def _suppressed(self) -> tuple[int, ...]:
        """Return the tokens that the header says must not be sampled."""
        count = ctypes.c_int32()
        ids = self.lib.llama_vocab_get_suppress_tokens(self.vocab, ctypes.byref(count))
        return tuple(ids[: count.value]) if ids else ()

    def read_control(self) -> None:
        """Find the control and end-of-generation tokens: 50 ms for 150,000 tokens.

        llama.cpp marks each end-of-generation token as a control token (`special_eog_ids` in
        llama-vocab.cpp), except for the EOS and EOT that the header names.
        """
        attribute, vocab = self.lib.llama_vocab_get_attr, self.vocab
        # Text with their names becomes their ids if special tokens are parsed
        # (`tokenizer_st_partition` in llama-vocab.cpp).
        control = self.lib.LLAMA_TOKEN_ATTR_CONTROL | self.lib.LLAMA_TOKEN_ATTR_UNKNOWN
        self.control = tuple(
            token for token in range(self.vocabulary_size) if attribute(vocab, token) & control
        )
        named = {self.lib.llama_vocab_eos(vocab), self.lib.llama_vocab_eot(vocab)} - {-1}
        self.ends = tuple(filter(self.is_end, sorted({*self.control, *named})))

    @property
    def control_names(self) -> frozenset[str]:
        """The names of the control tokens, without those that are not UTF-8."""
        names = set()
        for token in self.control:
            with suppress(UnicodeDecodeError):
                names.add(self.piece(token).decode())
        return frozenset(names - {""})

    def tokenize(self, text: str, *, special: bool, add_special: bool = False) -> list[int]:
        """Return the token ids of *text*; *add_special* adds BOS and EOS as the header says."""
        data = text.encode("utf-8", "replace")
        # A token has at least one byte; SentencePiece may add a space, `add_special` two tokens.
        room = len(data) + 4
        ids = (ctypes.c_int32 * room)()
        with self._in_use:  # so that `close` does not free it meanwhile
            if not self.pointer:
                raise EngineClosed("the engine is closed")
            count = self.lib.llama_tokenize(
                self.vocab, data, len(data), ids, room, add_special, special
            )
        if count < 0:
            raise InferenceFailed(f"a text of {len(data)} bytes cannot be tokenised")
        return ids[:count]

    def tokenize_parts(self, some: Iterable[tuple[str, bool]]) -> list[int]:
        """Return the token ids of a text in parts, each with whether it is verbatim.

        In a verbatim part the names of special tokens are text. Nothing merges across parts.
        """
        ids: list[int] = []
        for text, verbatim in some:
            ids += self._tokenize_behind(ids[-1:], text, special=not verbatim)
        return ids

    def _tokenize_behind(self, before: Sequence[int], text: str, *, special: bool) -> list[int]:
        """Return the token ids of *text*, which follows the tokens *before*.

        SentencePiece vocabularies add a space at the start of a text and after a special token
        (`add_space_prefix` in llama-vocab.cpp). After other text it must not be added: the text is
        tokenised behind a guard, whose tokens are then removed.
        """
        if not before or self._is_special(before[0]):
            return self.tokenize(text, special=special)
        guard = self.tokenize(_GUARD, special=False)
        guarded = self.tokenize(_GUARD + text, special=special)
        if guarded[: len(guard)] != guard:
            return self.tokenize(text, special=special)
        return guarded[len(guard) :]

    def _is_special(self, token: int) -> bool:
        return bool(self.lib.llama_vocab_get_attr(self.vocab, token) & self._special)

    def piece(self, token: int) -> bytes:
        """Return the bytes of *token*, special tokens spelled out."""
        room = _PIECE_BYTES
        while True:
            buffer = ctypes.create_string_buffer(room)
            count = self.lib.llama_token_to_piece(self.vocab, token, buffer, room, 0, _SPELLED)
            if count >= 0:
                return buffer.raw[:count]
            room = -count

    @property
    def vocabulary_type(self) -> int:
        """How texts become tokens: `enum llama_vocab_type`."""
        kind: int = self.lib.llama_vocab_type(self.vocab)
        return kind

    def texts(self) -> Iterator[bytes]:
        """Yield every token as the header spells it: 50 ms for 150,000."""
        text, vocab = self.lib.llama_vocab_get_text, self.vocab
        return (text(vocab, token) for token in range(self.vocabulary_size))

    def vocabulary(self) -> Vocabulary:
        """Return every token: 0.25 s for 150,000."""
        with self._in_use:  # so that `close` does not free it meanwhile
            if not self.pointer:
                raise EngineClosed("the engine is closed")
            tokens = range(self.vocabulary_size)
            return Vocabulary(
                tuple(map(self.piece, tokens)), frozenset(filter(self.is_end, tokens))
            )

    def template(self, name: str) -> str | None:
        """Return the template *name* in the header, beside the one for chat."""
        text = self.lib.llama_model_chat_template(self.pointer, name.encode())
        return None if text is None else text.decode("utf-8", "replace")

    @property
    def marks(self) -> "Marks":
        """The tokens that the header wants around and between texts."""
        lib, vocab = self.lib, self.vocab
        sep = lib.llama_vocab_sep(vocab)
        eos = lib.llama_vocab_eos(vocab)

        def token(of: int, wanted: bool) -> tuple[int, ...]:  # noqa: FBT001 - local
            return (of,) if wanted and of >= 0 else ()

        return Marks(
            token(lib.llama_vocab_bos(vocab), lib.llama_vocab_get_add_bos(vocab)),
            token(eos if eos >= 0 else sep, lib.llama_vocab_get_add_eos(vocab)),
            token(sep, lib.llama_vocab_get_add_sep(vocab)),
        )

    def metadata(self) -> Iterator[bytes]:
        """Yield the header's keys, each followed by its value as text; arrays are omitted."""
        lib = self.lib
        for index in range(lib.llama_model_meta_count(self.pointer)):
            yield self._text(lib.llama_model_meta_key_by_index, index)
            yield self._text(lib.llama_model_meta_val_str_by_index, index)

    def metadata_value(self, key: str) -> str | None:
        """Return the value of the header's *key* as text; None without such a key."""
        buffer = ctypes.create_string_buffer(_TEXT_BYTES)
        length = self.lib.llama_model_meta_val_str(self.pointer, key.encode(), buffer, _TEXT_BYTES)
        return None if length < 0 else buffer.value.decode()

    def _text(self, read: Callable[[Any, int, Any, int], int], index: int) -> bytes:
        room = _TEXT_BYTES
        while True:
            buffer = ctypes.create_string_buffer(room)
            length = read(self.pointer, index, buffer, room)
            if length < room:
                return buffer.raw[: max(length, 0)]
            room = length + 1

    def is_end(self, token: int) -> bool:
        """Return whether *token* ends a generation."""
        return bool(self.lib.llama_vocab_is_eog(self.vocab, token))

    def load_adapter(self, path: Path) -> Any:
        """Load a LoRA adapter over the weights; the result is false if llama.cpp refuses it."""
        return self.lib.llama_adapter_lora_init(self.pointer, os.fsencode(path))

    def free_adapter(self, pointer: Any) -> None:
        """Free an adapter that no context applies."""
        self.lib.llama_adapter_lora_free(pointer)

    def close(self) -> None:
        """Free the model, with its adapters; no-op the second time."""
        with self._in_use:
            pointer, self.pointer = self.pointer, None
        if pointer:
            self.lib.llama_model_free(pointer)
            malloc.trim()
