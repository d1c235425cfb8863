"""One row of logits in memory that the service and the child share.

A guide in the service restricts the row in place, as it does in one process, and may read it too.
150,000 logits are 600 KB; copying them takes some tens of microseconds.
"""

import mmap
import os
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pilotlight_backend.logits import Logits

_BYTES = 4  # of a logit, a 32-bit float


def open_row() -> int:
    """Return a descriptor of empty memory, for a child to inherit."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("pilotlight-row")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Row:
    """The memory behind a descriptor, as logits. For one thread at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mapping: mmap.mmap | None = None
        self._logits: Logits | None = None

    def logits(self, size: int) -> "Logits":
        """Return the row, *size* numbers long; the mapping grows to the longest row so far."""
        # Most requests have no guide.
        import numpy as np  # noqa: PLC0415

        if self._logits is None or self._logits.size < size:
            if os.fstat(self._descriptor).st_size < size * _BYTES:
                os.ftruncate(self._descriptor, size * _BYTES)
            self._mapping = mmap.mmap(self._descriptor, size * _BYTES)
            self._logits = np.frombuffer(self._mapping, dtype=np.float32)
        return self._logits[:size]

    def close(self) -> None:
        """Free the memory, once no guide holds the row."""
        self._logits = self._mapping = None
        os.close(self._descriptor)
