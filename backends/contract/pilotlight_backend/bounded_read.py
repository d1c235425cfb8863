"""Reading files whose size nobody knows: no more than a limit, and from files alone.

A name in a models folder may be a pipe that nobody writes to, or lead to a device without an end.
"""

import os
import stat
from pathlib import Path

LIMIT = 64 << 20
"""Bytes; a configuration has some thousands, the largest tokenisers have 35 million."""


def read_bounded(path: Path, limit: int = LIMIT) -> bytes:
    """Return what is in the file at *path*; raises `OSError`, for what is larger or no file too."""
    # A pipe is opened without waiting for its writer; on a file it changes nothing.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    # By the descriptor, so that what is read is what was looked at.
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(None, "it is no regular file")
        # One byte more, for a file that grows; `read` takes memory for all that it is asked for.
        data = file.read(min(status.st_size, limit) + 1)
    if len(data) > limit:
        raise OSError(None, f"it is larger than {limit} bytes")
    return data


def is_regular(path: Path) -> bool:
    """Tell whether a file is at *path*, or at the end of a link there; raises `OSError`."""
    return stat.S_ISREG(path.stat().st_mode)
