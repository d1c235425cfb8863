"""A model's weights and tokenizer in memory, and its generators."""

import ctypes
import logging
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pilotlight_backend import EngineClosed, LoadFailed, ModelFileInvalid, malloc
from pilotlight_backend.logits import Logits
from pilotlight_onnx.native import NativeError, create, library
from pilotlight_onnx.probe import ModelSection
from pilotlight_onnx.vocabulary import OnnxVocabulary

logger = logging.getLogger("pilotlight.onnx")


class OnnxModel:
    """A loaded `OgaModel`, its `OgaTokenizer` and its vocabulary. `tokenize` is thread-safe."""

    def __init__(
        self, path: Path, config: ModelSection, *, threads: int, provider: str | None = None
    ) -> None:
        """Load the folder at *path*; blocks, without the GIL.

        *provider* replaces the execution providers of the folder's configuration.
        """
        self.lib = library()
        self.vocabulary_size = config.vocab_size
        self.end_tokens = tuple(
            token for token in sorted(config.end_tokens) if token < config.vocab_size
        )
        self.vocabulary = OnnxVocabulary(path)
        self.pointer: Any = self._load(path, threads, provider)
        try:
            self._tokenizer: Any = create(self.lib.OgaCreateTokenizer, self.pointer)
        except NativeError as error:
            self.lib.OgaDestroyModel(self.pointer)
            raise ModelFileInvalid(path, f"its tokenizer cannot be loaded: {error}") from error
        self._in_use = threading.Lock()

    def _load(self, path: Path, threads: int, provider: str | None) -> Any:
        overlay = {
            "model": {
                # There is one sequence in a batch, so nothing is padded. If a prompt ended in the
                # pad token, the library would return the logits of an earlier token.
                "pad_token_id": -1,
                "decoder": {
                    "session_options": {
                        "intra_op_num_threads": threads,
                        # Threads that spin while they wait take the cores from other threads: on
                        # busy cores a model fell to a hundredth of its speed.
                        "session.intra_op.allow_spinning": "0",
                        "log_severity_level": 3,
                    }
                },
            }
        }
        try:
            config = create(self.lib.OgaCreateConfig, str(path).encode())
            try:
                self.lib.OgaConfigOverlay(config, msgspec.json.encode(overlay))
                if provider is not None:
                    self.lib.OgaConfigClearProviders(config)
                    self.lib.OgaConfigAppendProvider(config, provider.encode())
                return create(self.lib.OgaCreateModelFromConfig, config)
            finally:
                self.lib.OgaDestroyConfig(config)
        except NativeError as error:
            if provider is not None:
                logger.error("%s for %r: %s", path, provider, error)  # noqa: TRY400 - the message says it all
                raise LoadFailed(
                    f"{path.name}: this build of ONNX Runtime cannot run it with {provider!r};"
                    " see the log"
                ) from error
            raise ModelFileInvalid(path, f"ONNX Runtime cannot load it: {error}") from error

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return the token ids of *text*, without BOS or EOS."""
        null = self.vocabulary.null
        ids: list[int] = []
        # The library takes C strings, so null characters are encoded here.
        for index, part in enumerate(text.split("\0")):
            if index and null is not None:
                ids.append(null)
            for piece in (part,) if special else self._without_special(part):
                ids += self._encode(piece)
        return ids

    def _without_special(self, text: str) -> list[str]:
        """Cut *text* within each name of a special token, which the library would parse."""
        names = "|".join(map(re.escape, self.vocabulary.special))
        if not names:
            return [text]
        cuts = [match.start() + 1 for match in re.finditer(names, text)]
        return [text[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]

    def _encode(self, text: str) -> list[int]:
        if not text:
            return []
        lib = self.lib
        with self._in_use:  # the library's tokenizer is not thread-safe
            if not self._tokenizer:
                raise EngineClosed("the engine is closed")
            sequences = create(lib.OgaCreateSequences)
            try:
                lib.OgaTokenizerEncode(self._tokenizer, text.encode("utf-8", "replace"), sequences)
                count = lib.OgaSequencesGetSequenceCount(sequences, 0)
                return list(lib.OgaSequencesGetSequenceData(sequences, 0)[:count])
            finally:
                lib.OgaDestroySequences(sequences)

    def piece(self, token: int) -> bytes:
        """Return the bytes of *token*, special tokens spelled out."""
        return self.vocabulary.piece(token)

    def is_end(self, token: int) -> bool:
        """Return whether *token* ends a generation."""
        return token in self.end_tokens

    def open(self, max_length: int) -> "OnnxGenerator":
        """Make a generator with a KV cache of *max_length* tokens; the caller closes it."""
        return OnnxGenerator(self, max_length=max_length)

    def warm(self) -> None:
        """Evaluate one token, so that the first request does not meet cold pages and buffers."""
        generator = self.open(2)
        try:
            generator.append((0,))
            generator.logits()
        except NativeError as error:
            raise LoadFailed(f"the warm-up failed: {error}") from error
        finally:
            generator.close()

    def close(self) -> None:
        """Free the model; no-op the second time. Its generators must be closed before."""
        with self._in_use:
            tokenizer, self._tokenizer = self._tokenizer, None
        if tokenizer:
            self.lib.OgaDestroyTokenizer(tokenizer)
            self.lib.OgaDestroyModel(self.pointer)
            malloc.trim()


class OnnxGenerator:
    """A sequence and its KV cache, for one thread; only `terminate` is thread-safe."""

    def __init__(self, model: OnnxModel, *, max_length: int) -> None:
        """Allocate the cache for *max_length* tokens. Raises `LoadFailed`."""
        self._lib = model.lib
        params = create(self._lib.OgaCreateGeneratorParams, model.pointer)
        try:
            self._lib.OgaGeneratorParamsSetSearchNumber(params, b"max_length", max_length)
            self._pointer: Any = create(self._lib.OgaCreateGenerator, model.pointer, params)
        except NativeError as error:
            raise LoadFailed(
                f"cannot allocate a KV cache of {max_length} tokens: {error}"
            ) from error
        finally:
            self._lib.OgaDestroyGeneratorParams(params)
        self._logits = np.empty(model.vocabulary_size, dtype=np.float32)
        self._in_use = threading.Lock()

    def append(self, tokens: Sequence[int]) -> None:
        """Evaluate *tokens* after those that the sequence holds."""
        array = (ctypes.c_int32 * len(tokens))(*tokens)
        self._lib.OgaGenerator_AppendTokens(self._pointer, array, len(tokens))

    def logits(self) -> Logits:
        """Return the logits after the last token; valid until the next call."""
        tensor = create(self._lib.OgaGenerator_GetLogits, self._pointer)
        try:
            data = ctypes.c_void_p()
            self._lib.OgaTensorGetData(tensor, ctypes.byref(data))
            ctypes.memmove(self._logits.ctypes.data, data, self._logits.nbytes)
        finally:
            self._lib.OgaDestroyTensor(tensor)
        return self._logits

    def rewind(self, length: int) -> None:
        """Keep the first *length* tokens; `logits` needs an `append` before it."""
        self._lib.OgaGenerator_RewindTo(self._pointer, length)

    def terminate(self) -> None:
        """Make an `append` under way on another thread raise `NativeError` at once."""
        self._set_terminated(b"1")

    def resume(self, length: int) -> None:
        """Undo `terminate`, and keep the *length* tokens from before the terminated `append`."""
        self._set_terminated(b"0")
        self.rewind(length)

    def _set_terminated(self, value: bytes) -> None:
        with self._in_use:
            if self._pointer:
                self._lib.OgaGenerator_SetRuntimeOption(self._pointer, b"terminate_session", value)

    def close(self) -> None:
        """Free the cache; no-op the second time."""
        with self._in_use:
            pointer, self._pointer = self._pointer, None
        if pointer:
            self._lib.OgaDestroyGenerator(pointer)
