"""A baked prompt's file: its tokens and their state, and what that state depends on.

    preamble   magic, the header's length and checksum, the state's length and checksum
    header     JSON, filled up with spaces so that the state begins on a page
    state      as the backend has it, for it to read where it is mapped

The checksums cover every byte, so that a damaged file is found out before it is used.
"""

import logging
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Self

import msgspec
from msgspec import Struct

from pilotlight_backend import decode_errors
from pilotlight_backend.types import BakedPrompt

logger = logging.getLogger("pilotlight.backend")

_MAGIC = b"PLBAKED1"
_PREAMBLE = struct.Struct("<8sIIQI")
_PAGE = 4096


class Origin(Struct, frozen=True, kw_only=True):
    """What a state depends on: where any of it differs, so may the state."""

    backend: str
    build: str
    """The runtime's version, and whatever else decides which kernels compute."""
    model: str
    """A digest of the weights."""
    template: str
    """The chat template's digest, as `BakedPrompt` has it."""
    settings: Mapping[str, int | str]
    """The load's own, by name."""


class _Header(Struct, frozen=True):
    origin: Origin
    tokens: tuple[int, ...]


class Unfit(Exception):
    """A file that cannot be used; the message says why, after the file's name and a colon."""


class MappedPrompt:
    """A baked prompt, mapped into memory. *state* is read where it is; `close` ends the mapping."""

    def __init__(self, mapping: mmap.mmap, start: int, tokens: tuple[int, ...]) -> None:
        self.tokens = tokens
        self._mapping = mapping
        self._whole = memoryview(mapping)
        self.state = self._whole[start:]

    def close(self) -> None:
        """Give the mapping back; no-op the second time. Nobody may hold a view of *state*."""
        self.state.release()
        self._whole.release()
        self._mapping.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def write_baked(path: Path, origin: Origin, tokens: tuple[int, ...], state: memoryview) -> None:
    """Write a baked prompt to *path*, whole or not at all.

    Servers that have an earlier file mapped keep that one. Raises `OSError`.
    """
    header = msgspec.json.encode(_Header(origin, tokens))
    header += b" " * (-(_PREAMBLE.size + len(header)) % _PAGE)
    preamble = _PREAMBLE.pack(
        _MAGIC, len(header), zlib.crc32(header), state.nbytes, zlib.crc32(state)
    )
    with _replacing(path) as file:
        file.write(preamble)
        file.write(header)
        file.write(state)


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Write beside *path* under another name, and put it in place once it is on the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def open_baked(baked: BakedPrompt, origin: Origin) -> MappedPrompt | None:
    """Map the file at `baked.path`, or warn that it does not fit *origin* and return None."""
    try:
        return map_baked(baked.path, origin)
    except Unfit as error:
        warn_unfit(baked, str(error))
        return None


def warn_unfit(baked: BakedPrompt, reason: str) -> None:
    """Log that a baked prompt is not used, and why."""
    logger.warning("the baked prompt %s is ignored: %s", baked.path, reason)


def map_baked(path: Path, origin: Origin) -> MappedPrompt:
    """Map the file at *path*. Raises `Unfit` where it is damaged, or of another origin."""
    try:
        with path.open("rb") as file:
            # A private mapping that nobody writes to: the file's own pages, none of them copied.
            # ctypes takes the address of nothing that is read-only.
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise Unfit(f"it cannot be read: {error.strerror or error}") from None
    except ValueError:  # what mmap says of an empty file
        raise Unfit("it is empty") from None
    try:
        if hasattr(mapping, "madvise"):  # every byte is read next
            mapping.madvise(mmap.MADV_WILLNEED)
        start, tokens = _check(mapping, origin)
    except BaseException:
        mapping.close()
        raise
    return MappedPrompt(mapping, start, tokens)


def _check(mapping: mmap.mmap, origin: Origin) -> tuple[int, tuple[int, ...]]:
    """Return where the state starts, and the tokens; every byte has been read by then."""
    with memoryview(mapping) as whole:
        start = _intact(whole)
        header = _header(bytes(whole[_PREAMBLE.size : start]))
    if difference := _difference(header.origin, origin):
        raise Unfit(difference)
    return start, header.tokens


def _intact(whole: memoryview) -> int:
    """Return where the state starts in a file whose checksums are right."""
    if len(whole) < _PREAMBLE.size:
        raise Unfit("it is no baked prompt")
    magic, length, checksum, state_length, state_checksum = _PREAMBLE.unpack_from(whole)
    if magic != _MAGIC:
        raise Unfit("it is no baked prompt, or one of another version")
    start: int = _PREAMBLE.size + length
    if len(whole) != start + state_length:
        raise Unfit(f"it is damaged: it has {len(whole)} bytes of {start + state_length}")
    sums = zlib.crc32(whole[_PREAMBLE.size : start]), zlib.crc32(whole[start:])
    if sums != (checksum, state_checksum):
        raise Unfit("it is damaged: a checksum is wrong")
    return start


def _header(data: bytes) -> _Header:
    try:
        return msgspec.json.decode(data, type=_Header)
    except msgspec.DecodeError as error:
        raise Unfit(f"its header cannot be read: {decode_errors.describe(error)}") from None


_DIGESTS = {"model": "from another model", "template": "with another chat template"}


def _difference(theirs: Origin, ours: Origin) -> str | None:
    """Say in what *theirs* is another origin than *ours*, None where it is the same."""
    for name in ("backend", "build"):
        was, is_ = getattr(theirs, name), getattr(ours, name)
        if was != is_:
            return f"it was baked with the {name} {was!r}, this is {is_!r}"
    for name, words in _DIGESTS.items():
        if getattr(theirs, name) != getattr(ours, name):
            return f"it was baked {words}"
    for name in sorted({*theirs.settings, *ours.settings}):
        setting, now = theirs.settings.get(name), ours.settings.get(name)
        if setting != now:
            return f"it was baked with {name} {setting}, this is {now}"
    return None
