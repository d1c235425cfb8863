"""Reads files into the page cache, from which llama.cpp then maps them."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_BLOCK = 8 << 20
_READERS = 4  # network file systems are faster with several requests at once
_PROBED = 128 << 10
"""The kernel reads so many bytes ahead by default, so pages are cached by about as many."""


def read_ahead(paths: list[Path], progress: Callable[[int], None]) -> None:
    """Read *paths* once; call *progress* with the bytes so far. Its exception ends the reading.

    llama.cpp reports the progress of mapping, which is immediate; the bytes are read later, by
    page faults one at a time. Reading in order and in parallel is faster and can be counted.
    """
    total = 0
    with ThreadPoolExecutor(_READERS, "pilotlight read") as readers:
        for path in paths:
            for count in _blocks(readers, path):
                total += count
                progress(total)


def _blocks(readers: ThreadPoolExecutor, path: Path) -> Iterator[int]:
    """Yield the size of each block once it is read."""
    file = os.open(path, os.O_RDONLY)
    try:
        offsets = range(0, os.fstat(file).st_size, _BLOCK)
        reads = [readers.submit(_read_block, file, offset) for offset in offsets]
        try:
            for read in reads:
                yield read.result()
        finally:
            for read in reads:
                read.cancel()
            for read in reads:  # wait for those that run: they need the open file
                if not read.cancelled():
                    read.exception()
    finally:
        os.close(file)


def _read_block(file: int, offset: int) -> int:
    """Read a block, unless it is in the page cache: to copy 400 MB took 75 ms of CPU time."""
    if (cached := _cached(file, offset)) is not None:
        return cached
    count = 0
    while count < _BLOCK:
        data = os.pread(file, min(1 << 20, _BLOCK - count), offset + count)
        if not data:
            break
        count += len(data)
    return count


def _cached(file: int, offset: int) -> int | None:
    """Return the bytes of a block that is in the page cache, as far as its samples tell; or None.

    A page that was evicted between two samples is read by a page fault later.
    """
    if not hasattr(os, "RWF_NOWAIT"):  # Linux has it alone
        return None
    size = min(_BLOCK, os.fstat(file).st_size - offset)
    byte = bytearray(1)
    try:
        for sample in (*range(offset, offset + size, _PROBED), offset + size - 1):
            if not os.preadv(file, [byte], sample, os.RWF_NOWAIT):
                return None
    except OSError:  # it would have to wait, or the file system cannot tell
        return None
    return size
