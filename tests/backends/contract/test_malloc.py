"""Freed memory returns to the system, where the C library can be asked to."""

import ctypes
import platform
from pathlib import Path

import pytest

from pilotlight_backend import malloc

BLOCK, BLOCKS = 64 << 10, 1024


def resident() -> int:
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) << 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator keeps memory")
def test_freed_memory_is_given_back():
    """A block that is in use at the heap's end keeps glibc from giving back those before it."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = (ctypes.c_void_p,)
    blocks = [libc.malloc(BLOCK) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, BLOCK)
    last = blocks.pop()
    for block in blocks:
        libc.free(block)
    kept = resident()

    malloc.trim()

    assert kept - resident() > BLOCK * BLOCKS // 2
    libc.free(last)


def test_again_is_no_fault():
    """Both may be asked for as often as models come and go."""
    for _ in range(2):
        malloc.limit_arenas()
        malloc.trim()


def test_another_c_library_is_left_alone():
    """Neither function is there in musl."""
    malloc._call("no_such_function", 1)
