"""Reads files into the page cache, where llama.cpp then maps them from."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_BLOCK = 8 << 20
_READERS = 4  # several requests under way at once: what network file systems want


def read_ahead(paths: list[Path], progress: Callable[[int], None]) -> None:
    """Read *paths* once; *progress* hears the bytes so far, and what it raises ends the reading.

    llama.cpp's own progress speaks of mapping, which is over at once; the bytes come later, one
    page fault at a time. Read in order and in parallel they come sooner, and can be counted.
    """
    total = 0
    with ThreadPoolExecutor(_READERS, "pilotlight read") as readers:
        for path in paths:
            for count in _blocks(readers, path):
                total += count
                progress(total)


def _blocks(readers: ThreadPoolExecutor, path: Path) -> Iterator[int]:
    """Yield the size of each block of the file once it was read."""
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
            for read in reads:  # the file stays open for those that had begun
                if not read.cancelled():
                    read.exception()
    finally:
        os.close(file)


def _read_block(file: int, offset: int) -> int:
    count = 0
    while count < _BLOCK:
        data = os.pread(file, min(1 << 20, _BLOCK - count), offset + count)
        if not data:
            break
        count += len(data)
    return count
