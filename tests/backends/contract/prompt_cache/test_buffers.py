"""Memory for states."""

import os
import sys
from pathlib import Path

import pytest

from pilotlight_backend.prompt_cache.buffers import allocate


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_a_buffer_can_be_written_sliced_and_compared(size):
    buffer = allocate(size)
    assert (len(buffer), buffer.readonly) == (size, False)
    data = os.urandom(size)
    buffer[:] = data
    assert buffer[size // 2 :] == data[size // 2 :]


def test_a_buffer_for_which_there_is_no_memory():
    """The system's error becomes what callers expect of an allocation."""
    with pytest.raises(MemoryError, match=f"^{1 << 60} bytes for a state: "):
        allocate(1 << 60)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_buffer_takes_memory_when_it_is_written_and_none_afterwards():
    def resident():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    size = 64 << 20
    before = resident()
    buffer = allocate(size)
    assert resident() - before < size // 4
    buffer[:] = bytes(size)
    assert resident() - before > size // 2
    del buffer
    assert resident() - before < size // 4
