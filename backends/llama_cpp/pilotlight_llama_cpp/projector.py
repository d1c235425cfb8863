"""A loaded projector (mmproj): what turns images into vectors of the text model's width.

llama.cpp's `mtmd` library does it. It gets raw pixels and never a file: its own way from a file is
stb_image, and it passes whatever that does not know to ffmpeg, where that is installed.
"""

import ctypes
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from pilotlight_backend import Image, InferenceFailed, InvalidParameter, LoadFailed
from pilotlight_llama_cpp import logs
from pilotlight_llama_cpp.image_batch import ImageTraits
from pilotlight_llama_cpp.in_use import InUse
from pilotlight_llama_cpp.media import Layout, Patch
from pilotlight_llama_cpp.model import LlamaModel
from pilotlight_llama_cpp.native import mtmd_library

_MOST_SIDE = 2**15
"""Pixels to a side of an image. Sizes are 32-bit numbers in mtmd, and are multiplied."""
_SIZES = ((1, 1), (64, 64), (4096, 4096), (4096, 256), (256, 4096))
"""Images of which one takes the most rows."""


class Projector:
    """A `mtmd_context`. `layout` is for any thread, `encode` for one at a time.

    Both use the model's vocabulary: it is closed before the model is. After that they raise
    `EngineClosed`.
    """

    def __init__(self, path: Path, model: LlamaModel, *, threads: int, gpu: bool) -> None:
        """Load the file at *path*; raises `LoadFailed` if it does not fit *model*."""
        self.lib = mtmd_library()
        params = self.lib.mtmd_context_params_default()
        params.use_gpu = gpu
        params.n_threads = threads
        params.print_timings = False
        # An encoding of an image of noise; the first real one takes as long.
        params.warmup = False
        with logs.complaint() as complaint:
            self._pointer: Any = self.lib.mtmd_init_from_file(
                os.fsencode(path), model.pointer, params
            )
        if not self._pointer:
            reason = complaint.text.replace(str(path), path.name)
            raise LoadFailed(f"{path.name}: llama.cpp cannot load the projector: {reason}")
        self.width: int = model.lib.llama_model_n_embd_inp(model.pointer)
        """Numbers of a vector."""
        self.sees: bool = self.lib.mtmd_support_vision(self._pointer)
        self.is_mrope: bool = self.lib.mtmd_decode_use_mrope(self._pointer)
        """Whether each row has positions of its own for time, row and column."""
        self.is_causal: bool = not self.lib.mtmd_decode_use_non_causal(self._pointer, None)
        """Whether a row attends to those before it alone. If not, a patch is one batch."""
        self._layouts: dict[tuple[int, int], Layout] = {}
        self._in_use = InUse()
        try:
            self._check_tokens()
        except BaseException:
            self.close()
            raise

    @cached_property
    def traits(self) -> ImageTraits:
        """What a batch of its vectors is like."""
        return ImageTraits(self.width, self.is_mrope, self.is_causal, self.most_rows)

    @cached_property
    def most_rows(self) -> int:
        """The most rows of a patch, as far as is known."""
        layouts = (self.layout(width, height) for width, height in _SIZES)
        return max(
            (one.rows for layout in layouts for one in layout if isinstance(one, Patch)), default=0
        )

    def _check_tokens(self) -> None:
        """Raise `LoadFailed` if the vocabulary lacks a token that the projector wants.

        mtmd then puts the token -1 around images (`lookup_token` in mtmd.cpp), which a decode
        refuses.
        """
        for width, height in _SIZES:
            for piece in self.layout(width, height):
                if not isinstance(piece, Patch) and min(piece, default=0) < 0:
                    raise LoadFailed(
                        "the model's vocabulary lacks a token that the projector puts around images"
                    )

    def layout(self, width: int, height: int) -> Layout:
        """Return what becomes of an image of that size.

        Raises `InvalidParameter` for a size that the model cannot see.
        """
        known = self._layouts.get((width, height))
        if known is None:
            # Without pixels mtmd computes sizes alone: microseconds.
            with self._in_use, self._tokenized(width, height, None) as chunks:
                known = tuple(self._piece(chunk) for chunk in chunks)
            if len(self._layouts) >= _KEPT_LAYOUTS:
                self._layouts.clear()
            self._layouts[width, height] = known
        return known

    def _piece(self, chunk: Any) -> "tuple[int, ...] | Patch":
        lib = self.lib
        if self._is_text(chunk):
            count = ctypes.c_size_t()
            tokens = lib.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
            return tuple(tokens[: count.value])
        rows = lib.mtmd_input_chunk_get_n_tokens(chunk)
        positions = lib.mtmd_input_chunk_get_n_pos(chunk)
        columns = None
        if self.is_mrope:
            image = lib.mtmd_input_chunk_get_tokens_image(chunk)
            # A grid's rows all have the time of the first (`mtmd_image_tokens_get_decoder_pos`).
            if rows > 1 and lib.mtmd_image_tokens_get_decoder_pos(image, 0, 1).t == 0:
                columns = lib.mtmd_image_tokens_get_nx(image)
        return Patch(rows, positions, columns)

    def encode(self, image: Image) -> "list[array[float]]":
        """Return the vectors of each patch of *image*. Takes tenths of a second, or seconds.

        Raises `InferenceFailed`.
        """
        with self._in_use, self._tokenized(image.width, image.height, image.rgb) as chunks:
            return [self._encoded(chunk) for chunk in chunks if not self._is_text(chunk)]

    def _is_text(self, chunk: Any) -> bool:
        kind: int = self.lib.mtmd_input_chunk_get_type(chunk)
        text: int = self.lib.MTMD_INPUT_CHUNK_TYPE_TEXT
        return kind == text

    def _encoded(self, chunk: Any) -> "array[float]":
        with logs.complaint() as complaint:
            failed = self.lib.mtmd_encode_chunk(self._pointer, chunk)
        if failed:
            raise InferenceFailed(f"llama.cpp cannot encode the image: {complaint.text}")
        size = self.lib.mtmd_input_chunk_get_n_tokens(chunk) * self.width
        address = ctypes.cast(self.lib.mtmd_get_output_embd(self._pointer), ctypes.c_void_p)
        vectors = array("f")
        vectors.frombytes(ctypes.string_at(address.value or 0, size * vectors.itemsize))
        return vectors

    @contextmanager
    def _tokenized(self, width: int, height: int, rgb: bytes | None) -> Iterator[Sequence[Any]]:
        """Yield the chunks of an image; without *rgb* they have sizes and no content."""
        lib = self.lib
        if not (0 < width <= _MOST_SIDE and 0 < height <= _MOST_SIDE):
            raise InvalidParameter(
                "prompt",
                f"an image of {width} x {height} pixels: expected 1 to {_MOST_SIDE} to a side",
            )
        pixels = rgb and ctypes.cast(ctypes.c_char_p(rgb), ctypes.POINTER(ctypes.c_uint8))
        bitmap = lib.mtmd_bitmap_init(width, height, pixels)
        output = lib.mtmd_input_chunks_init()
        try:
            part = lib.mtmd_input_part(text=None, bitmap=bitmap)
            parts = (ctypes.POINTER(lib.mtmd_input_part) * 1)(ctypes.pointer(part))
            with logs.complaint() as complaint:
                status = lib.mtmd_tokenize_from_parts(self._pointer, output, parts, 1, False)  # noqa: FBT003
            if status:
                raise InvalidParameter(
                    "prompt", f"an image of {width} x {height} pixels: {complaint.text}"
                )
            count = lib.mtmd_input_chunks_size(output)
            yield [lib.mtmd_input_chunks_get(output, index) for index in range(count)]
        finally:
            lib.mtmd_input_chunks_free(output)
            lib.mtmd_bitmap_free(bitmap)

    def close(self) -> None:
        """Free it behind the calls under way; no-op the second time."""
        if self._in_use.close():
            self.lib.mtmd_free(self._pointer)


_KEPT_LAYOUTS = 1024
"""Sizes of images whose layout is kept."""
