"""Bodies that clients send compressed (RFC 9110, 8.4), decoded in steps of bounded size."""

import asyncio
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Protocol

from pilotlight.errors import InvalidRequest, RequestTooLarge, UnsupportedMediaType

SUPPORTED = ("gzip", "deflate", "zstd")
_IDENTITY = "identity"
_OTHER_NAMES = {"x-gzip": "gzip"}
"""RFC 9110, 8.4.1.3."""
_STEP = 65_536
"""Maximum bytes that a step returns, before the limit is checked."""
_MOST_MEMBERS = 1024
"""Members of a gzip body, or frames of a zstd body: empty ones take time and count no bytes."""
_GZIP = 16 + zlib.MAX_WBITS
_ZSTD_WINDOW_LOG = 23
"""8 MiB: the largest window that a sender may use (RFC 9659)."""


class _Decompressor(Protocol):
    """Decompresses one member or frame; the interface of `bz2` and `compression.zstd`."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def coding_of(values: Iterable[str]) -> str | None:
    """Return the coding in a request's `Content-Encoding` fields; None for none.

    Raises `UnsupportedMediaType` for one that is unknown, and for several in a row.
    """
    named = [name.strip().lower() for name in ",".join(values).split(",")]
    codings = [_OTHER_NAMES.get(name, name) for name in named if name not in ("", _IDENTITY)]
    if not codings:
        return None
    supported = ", ".join(SUPPORTED)
    if len(codings) > 1:
        message = f"the body has {len(codings)} content encodings, expected one of {supported}"
        raise UnsupportedMediaType(message, accept_encoding=supported)
    if codings[0] not in SUPPORTED:
        message = f"the content encoding is {codings[0][:40]!r}, expected one of {supported}"
        raise UnsupportedMediaType(message, accept_encoding=supported)
    return codings[0]


async def decoded(
    pieces: AsyncIterator[bytes], coding: str, most: int | None
) -> AsyncIterator[bytes]:
    """Yield *pieces* decoded from *coding*; other tasks run between two steps.

    Raises `RequestTooLarge` as soon as it comes to more than *most* bytes, and `InvalidRequest`
    where it is damaged or has no end.
    """
    decoder = _Decoder(*_DECOMPRESSORS[coding])
    size = 0
    async for piece in pieces:
        steps = decoder.decode(piece)
        while step := _next(steps, coding):
            size += len(step)
            if most is not None and size > most:
                raise RequestTooLarge(
                    f"the decoded body is larger than the {most} bytes that this server accepts"
                )
            yield step
            await asyncio.sleep(0)
    if not decoder.is_whole:
        raise InvalidRequest(f"the body's {coding} data is truncated")


def _next(steps: Iterator[bytes], coding: str) -> bytes | None:
    """Return the next of *steps*; raises `InvalidRequest` for damaged data."""
    try:
        return next(steps, None)
    except Exception as error:  # noqa: BLE001 - each library has an error of its own
        raise InvalidRequest(f"the body is not valid {coding} data: {error}") from None


class _Decoder:
    """Decodes one body."""

    def __init__(self, begin: Callable[[], _Decompressor], concatenated: bool) -> None:  # noqa: FBT001 - a row of the table
        """*begin* returns a decompressor; *concatenated* allows several members."""
        self._begin = begin
        self._concatenated = concatenated
        self._current = begin()
        self._members = 1
        self._is_empty = True

    @property
    def is_whole(self) -> bool:
        """Whether the data may end here. An empty body is refused elsewhere."""
        return self._current.eof or self._is_empty

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield *data* decoded, at most `_STEP` bytes at a time.

        Raises `ValueError`, or what the library raises.
        """
        while data:
            self._is_empty = False
            if self._current.eof:
                self._begin_next()
            step = self._current.decompress(data, _STEP)
            while step or not (self._current.needs_input or self._current.eof):
                if step:
                    yield step
                step = b"" if self._current.eof else self._current.decompress(b"", _STEP)
            data = self._current.unused_data

    def _begin_next(self) -> None:
        self._members += 1
        if not self._concatenated:
            raise ValueError("there are data behind its end")
        if self._members > _MOST_MEMBERS:
            raise ValueError(f"it has more than {_MOST_MEMBERS} members")
        self._current = self._begin()


class _Zlib:
    """zlib's decompressor, whose caller has to keep unconsumed input."""

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.decompressobj(wbits)
        self._is_full = False
        """Whether the last step returned its maximum, so that more may follow."""

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not (self._zlib.unconsumed_tail or self._is_full or self._zlib.eof)

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        step = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self._is_full = len(step) == max_length
        return step


class _Deflate:
    """Deflate with zlib's header (RFC 9110), or without, as many clients send it."""

    def __init__(self) -> None:
        self._start = b""
        self._found: _Zlib | None = None

    @property
    def eof(self) -> bool:
        return self._found is not None and self._found.eof

    @property
    def needs_input(self) -> bool:
        return self._found is None or self._found.needs_input

    @property
    def unused_data(self) -> bytes:
        return b"" if self._found is None else self._found.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if self._found is None:
            data = self._start = self._start + data
            if len(data) < 2:  # noqa: PLR2004 - zlib's header
                return b""
            # It names the method 8, and is a multiple of 31 (RFC 1950, 2.2).
            wrapped = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0  # noqa: PLR2004
            self._found = _Zlib(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        return self._found.decompress(data, max_length)


def _zstd() -> _Decompressor:
    # Imported here: few clients send it.
    if sys.version_info >= (3, 14):
        from compression.zstd import DecompressionParameter, ZstdDecompressor  # noqa: PLC0415
    else:
        from backports.zstd import DecompressionParameter, ZstdDecompressor  # noqa: PLC0415

    options: dict[int, int] = {DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    decompressor: _Decompressor = ZstdDecompressor(options=options)
    return decompressor


_DECOMPRESSORS: dict[str, tuple[Callable[[], _Decompressor], bool]] = {
    "gzip": (lambda: _Zlib(_GZIP), True),
    "deflate": (_Deflate, False),
    "zstd": (_zstd, True),
}
"""The decompressor of each coding, and whether members may be concatenated."""
