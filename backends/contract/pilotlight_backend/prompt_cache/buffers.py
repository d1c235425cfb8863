"""Memory for states."""

import mmap
import sys
from contextlib import suppress

_MAPPED = 1 << 20
"""Bytes from which a buffer has pages of its own."""


def allocate(size: int) -> memoryview:
    """Return *size* bytes to be written.

    Python clears the arrays that it makes, so each page would be written twice. Pages of a mapping
    are clear when they are first written, and go back to the system at once when nothing refers to
    the buffer any more. Huge ones are mapped with a 500th of the faults.
    """
    if size < _MAPPED:
        return memoryview(bytearray(size))
    if sys.platform == "win32":
        return memoryview(mmap.mmap(-1, size))
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux":
        with suppress(OSError):  # of a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(pages)
