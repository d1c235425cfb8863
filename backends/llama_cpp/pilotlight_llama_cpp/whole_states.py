"""The state of a whole context, split into those of its slots.

The state of one slot has only the last tokens of a sliding window, also where the cache has all of
them (`swa_full` in llama.h): in a longer context the slot could not be cut back any more. The
state of all slots has every cell. It cannot be put back as it is: llama.cpp would go on at the
first cell, and overwrite what the window has left behind (`state_read_meta` and `find_slot` in
llama-kv-cache.cpp). So it is split, and each part is put into its slot.

The layout is that of `state_write` in llama-kv-cache.cpp: for each cache the number of streams, and
for each stream its cells and their keys and values. A sliding window has two caches
(llama-kv-cache-iswa.cpp). Whatever is laid out otherwise raises `ValueError`.
"""

import struct
from collections.abc import Collection, Iterator

from pilotlight_backend.prompt_cache.buffers import allocate

_MAGIC = 0xAF143CD8
"""What the state of a slot begins with (`io_magic` in llama-context.cpp)."""

_NUMBER = struct.Struct("=I")
_CELL = "=iIi"
"""A cell's position, how many sequences have it, and the one that does. Models whose cells have
more (`has_cell_ext` in llama-kv-cache.cpp) are not split."""


def split(
    state: memoryview, slots: Collection[int], *, streams: int
) -> Iterator[tuple[int, memoryview]]:
    """Yield the states of *slots*, of the *state* of a context with a stream for each slot."""
    reader = _Reader(state)
    reader.skip(reader.number())  # the architecture's name
    caches = []
    while reader.is_within:
        if reader.number() != streams:
            raise ValueError("a cache has another number of streams than the context")
        caches.append([_read_stream(reader, stream) for stream in range(streams)])
    for slot in slots:
        yield slot, _joined([cache[slot] for cache in caches], slot, streams)


def _joined(parts: list[memoryview], slot: int, streams: int) -> memoryview:
    """Return the state of *slot*, of its *parts* of each cache; its other streams are empty."""
    around = _NUMBER.size * streams
    state = allocate(2 * _NUMBER.size + sum(around + len(part) for part in parts))
    struct.pack_into("=II", state, 0, _MAGIC, slot)
    end = 2 * _NUMBER.size
    for part in parts:
        _NUMBER.pack_into(state, end, streams)
        begin = end + _NUMBER.size * (1 + slot)
        state[begin : begin + len(part)] = part
        end += around + len(part)
    return state


class _Reader:
    """Reads numbers, and skips what is between them."""

    def __init__(self, state: memoryview) -> None:
        self.state = state
        self.offset = 0

    @property
    def is_within(self) -> bool:
        return self.offset < len(self.state)

    def skip(self, size: int) -> memoryview:
        """Return the next *size* bytes."""
        begin, self.offset = self.offset, self.offset + size
        if self.offset > len(self.state):
            raise ValueError("the state ends before its last cell")
        return self.state[begin : self.offset]

    def number(self) -> int:
        number: int = _NUMBER.unpack(self.skip(_NUMBER.size))[0]
        return number

    def numbers(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self.skip(struct.calcsize(layout)))


def _read_stream(reader: _Reader, stream: int) -> memoryview:
    """Return the bytes of *stream* in one cache."""
    begin = reader.offset
    cells = reader.number()
    if cells:
        _read_cells(reader, cells, stream)
        is_transposed, layers = reader.numbers("=II")
        for _ in range(layers):
            _, row = reader.numbers("=iQ")
            reader.skip(cells * row)
        for _ in range(layers):
            if is_transposed:
                _, element, row = reader.numbers("=iII")
                row *= element
            else:
                _, row = reader.numbers("=iQ")
            reader.skip(cells * row)
    return reader.state[begin : reader.offset]


def _read_cells(reader: _Reader, cells: int, stream: int) -> None:
    """Check that each cell is of the sequence of *stream* alone."""
    numbers = reader.skip(cells * struct.calcsize(_CELL)).cast("i")
    if set(numbers[1::3]) != {1} or set(numbers[2::3]) != {stream}:
        raise ValueError("a cell is not of one sequence")
