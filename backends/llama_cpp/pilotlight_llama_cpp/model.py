"""A model's weights and vocabulary in memory."""

import ctypes
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pilotlight_backend import EngineClosed, InferenceFailed, ModelFileInvalid, Vocabulary, malloc
from pilotlight_llama_cpp import logs
from pilotlight_llama_cpp.native import library

_PIECE_BYTES = 128
_TEXT_BYTES = 1024
_LONG_ROPE = b".rope.scaling.original_context_length"
_SPELLED = True
_GUARD = "\ufdd0"
"""A noncharacter: its bytes are tokens of their own, which merge with nothing."""


class LlamaModel:
    """A loaded `llama_model` and its vocabulary.

    `tokenize` and `close` suit any thread; the rest is for the thread that closes it.
    """

    def __init__(self, path: Path, *, gpu_layers: int, proceed: Callable[[], None]) -> None:
        """Load the model; *proceed* is called now and then, and what it raises ends the load."""
        self.lib = library()
        self.pointer: Any = self._load(path, gpu_layers, proceed)
        self.vocab = self.lib.llama_model_get_vocab(self.pointer)
        self.vocabulary_size: int = self.lib.llama_vocab_n_tokens(self.vocab)
        self.sliding_window: int = self.lib.llama_model_n_swa(self.pointer)
        self.cuttable_cache: bool = not (
            self.lib.llama_model_is_recurrent(self.pointer)
            or self.lib.llama_model_is_hybrid(self.pointer)
        )
        """Whether a slot can be cut back to its first tokens: a recurrent state has no past.

        The cache of a sliding window is as long as any other (`swa_full` in llama.h, the default),
        so that nothing of it is lost while it is in its context.
        """
        # Of a window alone is saved what the next token sees: only a plain cache of keys and
        # values is the same whether it was computed here or put back.
        self.plain_cache: bool = self.cuttable_cache and not self.sliding_window
        self.movable_cache: bool = self.plain_cache and not any(
            key.endswith(_LONG_ROPE) for key in self.metadata()
        )
        """Whether what a slot holds is the same in a context of another length."""
        self.suppressed = self._suppressed()
        self._special = (
            self.lib.LLAMA_TOKEN_ATTR_CONTROL
            | self.lib.LLAMA_TOKEN_ATTR_UNKNOWN
            | self.lib.LLAMA_TOKEN_ATTR_USER_DEFINED
        )
        self.control: tuple[int, ...] = ()
        """The tokens that steer and are no text, once they are read."""
        self.ends: tuple[int, ...] = ()
        """The tokens that end a generation, once they are read."""
        self._in_use = threading.Lock()

    def _load(self, path: Path, gpu_layers: int, proceed: Callable[[], None]) -> Any:
        raised: list[BaseException] = []

        def on_progress(_fraction: float, _user_data: int | None) -> bool:
            try:
                proceed()
            except BaseException as error:  # noqa: BLE001 - C is no place for it; raised below
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

    def _suppressed(self) -> tuple[int, ...]:
        """Return the tokens that the model's authors forbid it to sample."""
        count = ctypes.c_int32()
        ids = self.lib.llama_vocab_get_suppress_tokens(self.vocab, ctypes.byref(count))
        return tuple(ids[: count.value]) if ids else ()

    def read_control(self) -> None:
        """Find the tokens that are no text: a look at each, 50 ms for 150,000.

        llama.cpp makes each token that ends a generation such a one (llama-vocab.cpp,
        special_eog_ids), but for an end that the file names itself.
        """
        attribute, vocab = self.lib.llama_vocab_get_attr, self.vocab
        # Both become their tokens where special tokens are parsed (tokenizer_st_partition).
        control = self.lib.LLAMA_TOKEN_ATTR_CONTROL | self.lib.LLAMA_TOKEN_ATTR_UNKNOWN
        self.control = tuple(
            token for token in range(self.vocabulary_size) if attribute(vocab, token) & control
        )
        named = {self.lib.llama_vocab_eos(vocab), self.lib.llama_vocab_eot(vocab)} - {-1}
        self.ends = tuple(filter(self.is_end, sorted({*self.control, *named})))

    @property
    def control_names(self) -> frozenset[str]:
        """The names of the tokens that are no text, those that are UTF-8."""
        names = set()
        for token in self.control:
            with suppress(UnicodeDecodeError):
                names.add(self.piece(token).decode())
        return frozenset(names - {""})

    def tokenize(self, text: str, *, special: bool, add_special: bool = False) -> list[int]:
        """Return the token ids of *text*; with *add_special* what the header wants at its ends."""
        data = text.encode("utf-8", "replace")
        # A token is at least a byte; SPM may put a space before, and two specials may be added.
        room = len(data) + 4
        ids = (ctypes.c_int32 * room)()
        with self._in_use:  # else it could be freed meanwhile
            if not self.pointer:
                raise EngineClosed("the engine is closed")
            count = self.lib.llama_tokenize(
                self.vocab, data, len(data), ids, room, add_special, special
            )
        if count < 0:
            raise InferenceFailed(f"a text of {len(data)} bytes cannot be tokenised")
        return ids[:count]

    def tokenize_parts(self, some: Iterable[tuple[str, bool]]) -> list[int]:
        """Return the token ids of the parts of one text, each with whether names in it stay text.

        Between the parts nothing merges.
        """
        ids: list[int] = []
        for text, verbatim in some:
            ids += self._tokenize_behind(ids[-1:], text, special=not verbatim)
        return ids

    def _tokenize_behind(self, before: Sequence[int], text: str, *, special: bool) -> list[int]:
        """Return the token ids of *text*, which follows *before* in its text.

        A SentencePiece vocabulary puts a space before a text that begins, or follows a special
        token (llama-vocab.cpp, `add_space_prefix`): not here, where text comes before it.
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

    def vocabulary(self) -> Vocabulary:
        """Return every token; 150,000 take a quarter of a second."""
        with self._in_use:  # else it could be freed meanwhile
            if not self.pointer:
                raise EngineClosed("the engine is closed")
            tokens = range(self.vocabulary_size)
            return Vocabulary(
                tuple(map(self.piece, tokens)), frozenset(filter(self.is_end, tokens))
            )

    def metadata(self) -> Iterator[bytes]:
        """Yield the header's keys, each followed by its value in text; arrays are left out."""
        lib = self.lib
        for index in range(lib.llama_model_meta_count(self.pointer)):
            yield self._text(lib.llama_model_meta_key_by_index, index)
            yield self._text(lib.llama_model_meta_val_str_by_index, index)

    def metadata_value(self, key: str) -> str | None:
        """Return the value of the header's *key* in text; None where it has no such."""
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
        """Tell whether *token* ends a generation."""
        return bool(self.lib.llama_vocab_is_eog(self.vocab, token))

    def close(self) -> None:
        """Give the memory back; no-op the second time."""
        with self._in_use:
            pointer, self.pointer = self.pointer, None
        if pointer:
            self.lib.llama_model_free(pointer)
            malloc.trim()
