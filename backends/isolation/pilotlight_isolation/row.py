"""One row of scores in memory that two processes share.

A guide restricts the row itself, as it does in one process: it may look at a score before it
decides. 150,000 scores are 600 KB, which are copied in some tens of microseconds.
"""

import mmap
import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pilotlight_backend.logits import Logits

_BYTES = 4  # of a score, a 32-bit float


def open_row() -> int:
    """Return a descriptor of memory that is empty yet, for a child to inherit."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("pilotlight-row")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Row:
    """The memory behind a descriptor, as scores. For one thread at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mapping: mmap.mmap | None = None
        self._scores: Logits | None = None

    def scores(self, size: int) -> "Logits":
        """Return the row, *size* numbers long; the longest so far decides how much is mapped."""
        # Most models are asked nothing that needs a guide.
        import numpy as np  # noqa: PLC0415

        if self._scores is None or self._scores.size < size:
            if os.fstat(self._descriptor).st_size < size * _BYTES:
                os.ftruncate(self._descriptor, size * _BYTES)
            self._mapping = mmap.mmap(self._descriptor, size * _BYTES)
            self._scores = np.frombuffer(self._mapping, dtype=np.float32)
        return self._scores[:size]

    def close(self) -> None:
        """Let go of the memory, as soon as no guide holds it any more."""
        self._scores = self._mapping = None
        os.close(self._descriptor)
