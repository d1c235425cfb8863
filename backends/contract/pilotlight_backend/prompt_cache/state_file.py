"""A cached state as a file: what it is of, and checksums over every byte.

    preamble     magic, the header's length and checksum, the states' length and checksum
    header       msgpack: tokens and lengths
    states       the state, then its checkpoints, one behind the other

A file is never changed once it has its name, which ends with a hash of what it is of.
"""

import struct
import zlib
from array import array
from collections.abc import Sequence
from itertools import accumulate

import msgspec
from msgspec import Struct

from pilotlight_backend.prompt_cache.entry import (
    Checkpoint,
    Entry,
    Snapshot,
    file_name,
    identity_of,
)

MAGIC = b"PLSTATE1"
PREAMBLE = struct.Struct("<8sIIQI")
_MOST_HEADER = 64 << 20
"""Bytes; the header of a million tokens has 4 million."""

Buffer = bytes | bytearray | memoryview


class Damaged(Exception):
    """A file that is not what its name and checksums say; the message says in what."""


class Header(Struct, frozen=True, array_like=True):
    """What a file is of. Tokens are 32-bit integers in the order of this machine's bytes."""

    seed: bytes
    tokens: bytes
    least: int
    checkpoints: tuple[int, ...]
    sizes: tuple[int, ...]
    """Bytes of the state, and of each checkpoint."""


def pieces(entry: Entry, snapshot: Snapshot) -> list[Buffer]:
    """Return a file's bytes, piece by piece, none of the states copied."""
    states: list[Buffer] = [snapshot.state, *(one.state for one in snapshot.checkpoints)]
    header = msgspec.msgpack.encode(
        Header(
            seed=entry.seed,
            tokens=entry.tokens.tobytes(),
            least=entry.least,
            checkpoints=entry.checkpoints,
            sizes=tuple(len(state) for state in states),
        )
    )
    checksum = 0
    for state in states:
        checksum = zlib.crc32(state, checksum)
    size = sum(len(state) for state in states)
    preamble = PREAMBLE.pack(MAGIC, len(header), zlib.crc32(header), size, checksum)
    return [preamble, header, *states]


def header_size(preamble: bytes) -> int:
    """Return how long the header is behind *preamble*; raises `Damaged`."""
    if len(preamble) < PREAMBLE.size or preamble[: len(MAGIC)] != MAGIC:
        raise Damaged("it is no cached state, or one of another version")
    size: int = PREAMBLE.unpack_from(preamble)[1]
    if size > _MOST_HEADER:
        raise Damaged(f"its header has {size} bytes")
    return size


def read_header(name: str, start: bytes, file_size: int) -> Entry:
    """Return what the file *name* is of, by its *start*, preamble and header.

    Raises `Damaged` where the file is shorter or longer than it says, its header's checksum is
    wrong, or its name is not that of its tokens. The states are not looked at.
    """
    length = header_size(start)
    _, _, checksum, size, _ = PREAMBLE.unpack_from(start)
    data = start[PREAMBLE.size : PREAMBLE.size + length]
    if file_size != PREAMBLE.size + length + size:
        expected = PREAMBLE.size + length + size
        raise Damaged(f"it has {file_size} bytes of {expected}")
    if len(data) != length or zlib.crc32(data) != checksum:
        raise Damaged("its header's checksum is wrong")
    try:
        header = msgspec.msgpack.decode(data, type=Header)
    except msgspec.DecodeError as error:
        raise Damaged(f"its header cannot be read: {error}") from None
    tokens = array("i")
    tokens.frombytes(header.tokens[: len(header.tokens) // tokens.itemsize * tokens.itemsize])
    entry = Entry(
        seed=header.seed,
        tokens=tokens,
        least=header.least,
        checkpoints=header.checkpoints,
        size=size,
        file=name,
    )
    if not _is_sound(header, entry) or file_name(identity_of(name), entry) != name:
        raise Damaged("its name is not that of its tokens")
    return entry


def _is_sound(header: Header, entry: Entry) -> bool:
    lengths = list(entry.lengths)
    return (
        len(header.sizes) == 1 + len(header.checkpoints)
        and sum(header.sizes) == entry.size
        and min(header.sizes) >= 0
        and lengths == sorted(set(lengths))
        and lengths[0] >= 1
        and lengths[-1] <= len(entry)
    )


def is_short(start: bytes, file_size: int) -> bool:
    """Return whether a file that begins with *start* has fewer bytes than it says."""
    if len(start) < PREAMBLE.size:
        return MAGIC.startswith(start[: len(MAGIC)])
    magic, length, _, size, _ = PREAMBLE.unpack_from(start)
    return bool(magic == MAGIC and file_size < PREAMBLE.size + length + size)


def read_snapshot(name: str, whole: Buffer) -> Snapshot:
    """Return the states of the file *name* whose bytes are *whole*, not copied.

    Raises `Damaged`: also where it is not the file any more whose header was read before.
    """
    view = memoryview(whole)
    start = PREAMBLE.size + header_size(bytes(view[: PREAMBLE.size]))
    read_header(name, bytes(view[:start]), len(view))
    checksum = PREAMBLE.unpack_from(view)[4]
    if zlib.crc32(view[start:]) != checksum:
        raise Damaged("the checksum of its state is wrong")
    header = msgspec.msgpack.decode(view[PREAMBLE.size : start], type=Header)
    state, *checkpoints = _cut(view[start:], header.sizes)
    return Snapshot(
        state=state,
        checkpoints=tuple(
            Checkpoint(tokens=tokens, state=one)
            for tokens, one in zip(header.checkpoints, checkpoints, strict=True)
        ),
    )


def _cut(states: memoryview, sizes: Sequence[int]) -> list[memoryview]:
    ends = list(accumulate(sizes))
    return [states[end - size : end] for end, size in zip(ends, sizes, strict=True)]
