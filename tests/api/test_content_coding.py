"""Compressed bodies: each coding, the limit that counts decoded bytes, and damaged ones."""

import gzip
import random
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from backports import zstd

from pilotlight.api.http.content_coding import coding_of, decoded
from pilotlight.errors import InvalidRequest, RequestTooLarge, UnsupportedMediaType
from tests.conftest import FakeService, chat

pytestmark = pytest.mark.slow


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


def gzipped(data: bytes) -> bytes:
    """Return *data* as gzip without a time: workers must collect the same names of tests."""
    return gzip.compress(data, mtime=0)


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "gzip in members": ("gzip", lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:])),
    "gzip stored": ("gzip", lambda data: gzip.compress(data, 0)),
    "deflate in zlib's format": ("deflate", zlib.compress),
    "deflate of the fastest level": ("deflate", lambda data: zlib.compress(data, 1)),
    "raw deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstd.compress),
    "zstd in frames": ("zstd", lambda data: zstd.compress(data[:7]) + zstd.compress(data[7:])),
    "zstd of a high level": ("zstd", lambda data: zstd.compress(data, 19)),
    "upper case": ("GZIP", gzip.compress),
    "gzip and identity": ("identity, gzip", gzip.compress),
    "identity": ("identity", bytes),
    "nothing": ("", bytes),
}
TEXT = random.Random(0).randbytes(3000).hex().encode() + b"a" * 300_000  # noqa: S311 - data, no secret


async def pieces_of(data: bytes, length: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), length):
        yield data[at : at + length]


async def read(data: bytes, coding: str, *, most: int | None = None, length: int = 1000) -> bytes:
    return b"".join([step async for step in decoded(pieces_of(data, length), coding, most)])


# ── over the API ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ENCODERS)
async def test_a_compressed_body_is_read(service: FakeService, how: str):
    coding, encode = ENCODERS[how]
    body = encode(msgspec.json.encode(chat(text="hi" * 1000)))
    answer = await service.post(body, **{"content-encoding": coding})
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "Hello."


@pytest.mark.parametrize("coding", ["br", "compress", "gzip, gzip", "deflate,zstd", "x" * 1000])
async def test_another_coding_is_refused(service: FakeService, coding: str):
    """Before the body is read, and with those that are supported in the header."""
    answer = await service.post(b"anything", **{"content-encoding": coding})
    assert answer.status_code == 415
    assert answer.headers["accept-encoding"] == "gzip, deflate, zstd"
    assert answer.json()["error"]["code"] == "unsupported_media_type"
    assert len(answer.text) < 300


async def test_another_content_type_names_no_coding(service: FakeService):
    answer = await service.post(b"{}", **{"content-type": "text/plain"})
    assert answer.status_code == 415
    assert "accept-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("coding", "body", "message"),
    [
        ("gzip", b'{"model": "m"}', "the body is not valid gzip data"),
        ("gzip", gzipped(b"{}")[:-3], "the body's gzip data is truncated"),
        ("gzip", gzipped(b"{}") + b"more", "the body is not valid gzip data"),
        ("gzip", gzipped(b"{}")[:-8] + bytes(8), "the body is not valid gzip data"),
        ("deflate", zlib.compress(b"{}")[:-1], "the body's deflate data is truncated"),
        ("deflate", b"x", "the body's deflate data is truncated"),
        ("deflate", b"\xff\xff\xff", "the body is not valid deflate data"),
        ("deflate", raw_deflate(b"{}") + b"more", "there are data behind its end"),
        ("zstd", zstd.compress(b"{}")[:-1], "the body's zstd data is truncated"),
        ("zstd", b'{"model": "m"}', "the body is not valid zstd data"),
        ("gzip", b"", "the body is empty"),
        ("zstd", gzipped(b"{}"), "the body is not valid zstd data"),
        ("gzip", gzipped(b""), "the body is empty"),
    ],
)
async def test_a_damaged_body_is_refused(service: FakeService, coding, body, message):
    answer = await service.post(body, **{"content-encoding": coding})
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("how", ["gzip", "raw deflate", "zstd"])
async def test_the_limit_counts_decoded_bytes(start: Any, how: str):
    """A body at the limit is read; one that comes to a byte more is a 413."""
    service = await start(max_request_bytes=10_000)
    service.write()
    coding, encode = ENCODERS[how]
    body = msgspec.json.encode(chat())
    fits = body + b" " * (10_000 - len(body))
    for sent, status in ((fits, 200), (fits + b" ", 413)):
        answer = await service.post(encode(sent), **{"content-encoding": coding})
        assert answer.status_code == status, answer.text


# ── decoding ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", [how for how in ENCODERS if how not in {"identity", "nothing"}])
@pytest.mark.parametrize("length", [1, 1000, 10_000_000])
async def test_how_a_body_is_cut_makes_no_difference(how: str, length: int):
    name, encode = ENCODERS[how]
    coding = coding_of([name])
    assert coding is not None
    data = encode(TEXT if length > 1 else TEXT[:5000])
    assert await read(data, coding, length=length) == (TEXT if length > 1 else TEXT[:5000])


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
async def test_a_bomb_is_refused_early(coding: str):
    """Of 50 MB in few kB no more is read, decoded and kept than what the limit takes."""
    encode = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}[coding]
    bomb = encode(bytes(50_000_000))
    read = taken = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal read
        async for piece in pieces_of(bomb, 10):
            read += len(piece)
            yield piece

    async def count() -> None:
        nonlocal taken
        async for step in decoded(pieces(), coding, 1_000_000):
            taken += len(step)

    tracemalloc.start()
    with pytest.raises(RequestTooLarge):
        await count()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read < len(bomb) / 10  # it is a fiftieth
    assert taken <= 1_000_000
    assert peak < 1_000_000


async def test_a_thousand_empty_members_are_too_many():
    """They count no bytes, so nothing else would end them."""
    empty = gzip.compress(b"")
    assert await read(empty * 1024, "gzip") == b""
    with pytest.raises(InvalidRequest, match="more than 1024 members"):
        await read(empty * 1025, "gzip")


async def test_a_window_that_takes_much_memory_is_refused():
    """RFC 9659 has 8 MiB at the most."""
    options = {zstd.CompressionParameter.window_log: 27}
    compressor = zstd.ZstdCompressor(options=options)
    body = compressor.compress(b"{}") + compressor.flush()
    with pytest.raises(InvalidRequest, match="not valid zstd data"):
        await read(body, "zstd")


async def test_damaged_data_raise_nothing_else():
    """Whatever byte is another one, and wherever the data end."""
    noise = random.Random(1)  # noqa: S311 - data, no secret
    for how in ("gzip", "raw deflate", "zstd"):
        coding, encode = ENCODERS[how]
        good = encode(TEXT[:500])
        for _ in range(300):
            bad = bytearray(good[: noise.randrange(1, len(good) + 1)])
            bad[noise.randrange(len(bad))] = noise.randrange(256)
            with suppress(InvalidRequest):
                await read(bytes(bad), coding, most=10_000)


@pytest.mark.parametrize(
    ("values", "coding"),
    [([], None), (["identity"], None), ([" gzip "], "gzip"), (["", "zstd"], "zstd")],
)
def test_the_coding_of_a_request(values: list[str], coding: str | None):
    assert coding_of(values) == coding


def test_two_fields_are_two_codings():
    with pytest.raises(UnsupportedMediaType, match="2 content encodings"):
        coding_of(["gzip", "gzip"])
