"""A batch of vectors: what `llama_decode` takes in the place of tokens."""

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

from pilotlight_llama_cpp.batch import Run
from pilotlight_llama_cpp.media import ImageRows

_SECTIONS = 4
"""Positions of a vector with M-RoPE: time, row, column, and one that is not in use."""


class ImageTraits(NamedTuple):
    """What a batch of a projector's vectors is like."""

    width: int
    """Numbers of a vector."""
    is_mrope: bool
    is_causal: bool
    most_rows: int


class ImageBatch:
    """One batch for all images, over arrays of ours. The engine's thread alone uses it."""

    def __init__(self, lib: Any, traits: ImageTraits, room: int) -> None:
        """*room* is the rows of a batch at the most: `n_batch` and `n_ubatch`."""
        self._lib = lib
        self._room = room
        self._traits = traits
        self._vectors: Any = None
        self._positions: Any = (ctypes.c_int32 * (room * _SECTIONS))()
        self._outputs: Any = (ctypes.c_int8 * room)()
        self._counts = (ctypes.c_int32 * room)(*([1] * room))
        self._slots: Any = (ctypes.c_int32 * room)()
        address, size = ctypes.addressof(self._slots), ctypes.sizeof(ctypes.c_int32)
        pointer = ctypes.POINTER(ctypes.c_int32)
        self._slot_pointers = (pointer * room)(
            *(ctypes.cast(address + row * size, pointer) for row in range(room))
        )

    @property
    def is_causal(self) -> bool:
        """Whether a row attends to those before it alone."""
        return self._traits.is_causal

    def fill(self, runs: Sequence[Run]) -> Any:
        """Return the batch of *runs*, which all have images.

        Raises `ValueError` for more rows than there is room for: llama.cpp would abort.
        """
        images = [(run, run.image) for run in runs if run.image is not None]
        rows = sum(image.rows for _, image in images)
        if rows > self._room or len(images) < len(runs):
            raise ValueError(f"{rows} rows of images in a batch of {self._room}")
        row = 0
        for run, image in images:
            self._put_vectors(row, image)
            end = row + image.rows
            time, line, column = image.positions(run.start)
            self._positions[row:end] = time
            if self._traits.is_mrope:
                # Section by section (`set_position_mrope_2d` in mtmd-helper-common.h). Those of a
                # patch without a grid are all the same.
                last = [0] * image.rows if image.patch.columns else time
                for section, values in enumerate((line, column, last), 1):
                    first = section * rows + row
                    self._positions[first : first + image.rows] = values
            self._slots[row:end] = (run.slot,) * image.rows
            self._outputs[row:end] = bytes(image.rows)
            self._outputs[end - 1] = run.outputs
            row = end
        return self._lib.llama_batch(
            n_tokens=rows,
            token=None,
            embd=self._vectors,
            pos=self._positions,
            n_seq_id=self._counts,
            seq_id=self._slot_pointers,
            logits=self._outputs,
        )

    def _put_vectors(self, row: int, image: ImageRows) -> None:
        width = self._traits.width
        if self._vectors is None:  # few servers see images: 2 MB for 512 rows of 1,024 numbers
            self._vectors = (ctypes.c_float * (self._room * width))()
        size = ctypes.sizeof(ctypes.c_float)
        source, _ = image.vectors.buffer_info()
        first = image.first * width
        if (image.first + image.rows) * width > len(image.vectors):
            raise ValueError(f"an image has fewer than {image.first + image.rows} vectors")
        ctypes.memmove(
            ctypes.addressof(self._vectors) + row * width * size,
            source + first * size,
            image.rows * width * size,
        )
