"""The file of a baked prompt: its tokens, their state, and what the state depends on.

    preamble   magic, length and checksum of the header, length and checksum of the state
    header     JSON, padded with spaces so that the state starts on a page
    state      in the backend's own form, which it reads from the mapped file

The checksums cover every byte, so a damaged file is detected before it is used.
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
    """What a state depends on: it is used only if all of this is equal."""

    backend: str
    build: str
    """The runtime's version, and everything else that selects the compute kernels."""
    model: str
    """A digest of the weights."""
    template: str
    """The chat template's digest, as `BakedPrompt` has it."""
    settings: Mapping[str, int | str]
    """The load's settings, by name."""


class _Header(Struct, frozen=True):
    origin: Origin
    tokens: tuple[int, ...]


class Unfit(Exception):
    """The file cannot be used. The message is the reason, for a log line after the name."""


class MappedPrompt:
    """A baked prompt, mapped into memory. *state* is a view of the mapping, valid until `close`."""

    def __init__(self, mapping: mmap.mmap, start: int, tokens: tuple[int, ...]) -> None:
        self.tokens = tokens
        self._mapping = mapping
        self._whole = memoryview(mapping)
        self.state = self._whole[start:]

    def close(self) -> None:
        """Unmap the file. No view of *state* may be held. A second call does nothing."""
        self.state.release()
        self._whole.release()
        self._mapping.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def write_baked(path: Path, origin: Origin, tokens: tuple[int, ...], state: memoryview) -> None:
    """Write a baked prompt to *path*, completely or not at all. Raises `OSError`.

    Servers that have mapped an earlier file keep its content.
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
    """Yield a temporary file beside *path*, and rename it to *path* once it is on disk."""
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
    """Map the file at `baked.path`. If it cannot be used with *origin*, warn and return None."""
    try:
        return map_baked(baked.path, origin)
    except Unfit as error:
        warn_unfit(baked, str(error))
        return None


def warn_unfit(baked: BakedPrompt, reason: str) -> None:
    """Log that a baked prompt is ignored, and why."""
    logger.warning("the baked prompt %s is ignored: %s", baked.path, reason)


def map_baked(path: Path, origin: Origin) -> MappedPrompt:
    """Map the file at *path*. Raises `Unfit` if it is damaged or of another origin."""
    try:
        with path.open("rb") as file:
            # Copy-on-write and never written: it shares the file's pages. A read-only mapping would
            # do, but ctypes takes no address of a read-only buffer.
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise Unfit(f"cannot be read: {error.strerror or error}") from None
    except ValueError:  # mmap raises it for an empty file
        raise Unfit("the file is empty") from None
    try:
        if hasattr(mapping, "madvise"):  # every byte is read next
            mapping.madvise(mmap.MADV_WILLNEED)
        start, tokens = _check(mapping, origin)
    except BaseException:
        mapping.close()
        raise
    return MappedPrompt(mapping, start, tokens)


def _check(mapping: mmap.mmap, origin: Origin) -> tuple[int, tuple[int, ...]]:
    """Return the state's offset and the tokens, after a check of every byte."""
    with memoryview(mapping) as whole:
        start = _intact(whole)
        header = _header(bytes(whole[_PREAMBLE.size : start]))
    if difference := _difference(header.origin, origin):
        raise Unfit(difference)
    return start, header.tokens


def _intact(whole: memoryview) -> int:
    """Return the state's offset. Raises `Unfit` unless lengths and checksums are right."""
    if len(whole) < _PREAMBLE.size:
        raise Unfit("not a baked prompt")
    magic, length, checksum, state_length, state_checksum = _PREAMBLE.unpack_from(whole)
    if magic != _MAGIC:
        raise Unfit("not a baked prompt, or of another version")
    start: int = _PREAMBLE.size + length
    if len(whole) != start + state_length:
        raise Unfit(f"damaged: {len(whole)} bytes, expected {start + state_length}")
    sums = zlib.crc32(whole[_PREAMBLE.size : start]), zlib.crc32(whole[start:])
    if sums != (checksum, state_checksum):
        raise Unfit("damaged: wrong checksum")
    return start


def _header(data: bytes) -> _Header:
    try:
        return msgspec.json.decode(data, type=_Header)
    except msgspec.DecodeError as error:
        raise Unfit(f"invalid header: {decode_errors.describe(error)}") from None


_DIGESTS = {"model": "from another model", "template": "with another chat template"}


def _difference(theirs: Origin, ours: Origin) -> str | None:
    """Return how *theirs* differs from *ours*, in words; None if they are equal."""
    for name in ("backend", "build"):
        was, is_ = getattr(theirs, name), getattr(ours, name)
        if was != is_:
            return f"baked with {name} {was!r}, this is {is_!r}"
    for name, words in _DIGESTS.items():
        if getattr(theirs, name) != getattr(ours, name):
            return f"baked {words}"
    for name in sorted({*theirs.settings, *ours.settings}):
        setting, now = theirs.settings.get(name), ours.settings.get(name)
        if setting != now:
            return f"baked with {name} {setting}, this load has {now}"
    return None
