"""Reads files of unknown size: at most a limit, and regular files only.

A name in a models folder may be a pipe without a writer, or a link to an endless device.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO

LIMIT = 64 << 20
"""Bytes. A configuration has some thousands, the largest tokenizer 35 million."""


def open_regular(path: Path) -> BinaryIO:
    """Open *path* to be read. Raises `OSError`, also for what is no regular file."""
    # O_NONBLOCK: opening a pipe does not wait for a writer. It has no effect on regular files.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    # fstat, not stat: the file that is read is the file that was checked.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(None, "not a regular file")
    return os.fdopen(descriptor, "rb")


def read_bounded(path: Path, limit: int = LIMIT) -> bytes:
    """Return the content of *path*. Raises `OSError`, also for larger and for irregular files."""
    with open_regular(path) as file:
        # One byte more finds a file that grows; `read` allocates as much as it is asked for.
        data = file.read(min(os.fstat(file.fileno()).st_size, limit) + 1)
    if len(data) > limit:
        raise OSError(None, f"larger than {limit} bytes")
    return data


def is_regular(path: Path) -> bool:
    """Return whether *path* is a regular file or a link to one. Raises `OSError`."""
    return stat.S_ISREG(path.stat().st_mode)
