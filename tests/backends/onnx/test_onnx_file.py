"""Whole files, and files of which a part is missing or that are something else."""

import os

import pytest

from pilotlight_backend import ModelFileInvalid
from pilotlight_onnx.backend import OnnxBackend
from pilotlight_onnx.onnx_file import check_whole

PRODUCER = b"\x12\x03abc"
"""Field 2, three bytes long."""
GRAPH = b"\x3a\x04\x01\x02\x03\x04"
"""Field 7, four bytes long: what is in it is not looked at."""
VERSION = b"\x08\x0a"
"""Field 1, a number."""


@pytest.fixture(scope="module")
def spark():
    return (OnnxBackend().embedded() / "model.onnx").read_bytes()


@pytest.fixture
def check(tmp_path):
    def run(data):
        path = tmp_path / "model.onnx"
        path.unlink(missing_ok=True)  # ext4 flushes a file that is truncated and written again
        path.write_bytes(data)
        check_whole(path)

    return run


def number_at(data, place):
    """Return the number that begins at *place* and where it ends."""
    end = place
    while data[end] >= 0x80:
        end += 1
    digits = data[place : end + 1]
    return sum((byte & 0x7F) * 128**power for power, byte in enumerate(digits)), end + 1


def field_ends(data):
    """Return where the fields of a whole file of numbers and byte strings end."""
    ends, place = [], 0
    while place < len(data):
        tag, place = number_at(data, place)
        value, place = number_at(data, place)
        place += value if tag % 8 == 2 else 0
        ends.append(place)
    return ends


@pytest.mark.parametrize(
    "data",
    [
        VERSION,
        VERSION + PRODUCER + GRAPH,
        PRODUCER + GRAPH + VERSION,
        GRAPH,
        b"\x3a\x00",  # an empty field
        b"\x39" + bytes(8) + GRAPH,  # eight bytes
        b"\x3d" + bytes(4) + GRAPH,  # four bytes
        b"\xba\x3e\x02ab",  # a tag of two bytes
        b"\x08" + b"\xff" * 9 + b"\x01",  # -1 takes ten bytes
        b"\x3a\x82\x80\x80\x00ab",  # a length that takes more bytes than it needs
        b"\x3a\x80\x08" + bytes(1024),
    ],
)
def test_whole_file(check, data):
    """Fields of every type that is in use, in any order, that end where the file does."""
    check(data)


def test_whole_real_model(check, spark):
    """The model that ships with the plugin is whole."""
    check(spark)


def test_large_fields_are_skipped(tmp_path):
    """A graph of a terabyte is checked as fast as a small one: its tensors are not read."""
    path = tmp_path / "model.onnx"
    length = b"\x80\x80\x80\x80\x80\x20"  # 2^40 in seven-bit digits
    with path.open("wb") as file:
        file.write(VERSION + b"\x3a" + length)
        file.truncate(file.tell() + (1 << 40))
    check_whole(path)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ModelFileInvalid, match="incomplete"):
        check_whole(path)


def test_real_model_that_is_cut_off(tmp_path, spark):
    """Wherever a download stops inside of a field, the file is refused by its name and length."""
    path = tmp_path / "model.onnx"
    path.write_bytes(spark)
    ends = field_ends(spark)
    assert ends[-1] == len(spark)
    size = len(spark)
    lengths = {*range(1500), *range(0, size, 61), *range(size - 500, size)} - set(ends)
    for length in sorted(lengths, reverse=True):
        os.truncate(path, length)
        with pytest.raises(ModelFileInvalid, match=rf"model\.onnx.*ends after {length} bytes"):
            check_whole(path)


@pytest.mark.parametrize("extra", [b"\x3a", b"\x3a\x05", b"\x08", b"\x80", b"\x39" + bytes(7)])
def test_beginning_of_another_field(check, spark, extra):
    """Bytes after the last field that are no whole field are no part of a whole file."""
    with pytest.raises(ModelFileInvalid, match="incomplete"):
        check(spark + extra)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ends after 0 bytes"),
        (b"\x08", "ends after 1 bytes"),
        (b"\x3a", "ends after 1 bytes"),
        (b"\x3d\x00\x00\x00", "incomplete"),
        (b"\x0b", "unknown wire type 3"),
        (b"\x0c", "unknown wire type 4"),
        (b"\x0e", "unknown wire type 6"),
        (b"\x0f", "unknown wire type 7"),
        (b"GGUF\x03\x00\x00\x00", "not an ONNX file"),
        (b"PK\x03\x04 a zip file", "not an ONNX file"),
        (b'{"model": {}}', "not an ONNX file"),
        (b"<!DOCTYPE html><html>", "not an ONNX file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not an ONNX file"),
        (b"\xff" * 64, "longer than 10 bytes"),
        (b"\x08" + b"\xff" * 64, "longer than 10 bytes"),
        (b"\x3a" + b"\xff" * 64, "longer than 10 bytes"),
        (b"\x08" + b"\x80" * 10 + b"\x00", "longer than 10 bytes"),
        (b"\x3a" + b"\xff" * 9, "incomplete"),
        (b"\x3a" + b"\xff" * 9 + b"\x7f", "incomplete"),  # 2^70 - 1 bytes
        (b"\x3a" + b"\xff" * 8 + b"\x7f", "incomplete"),  # 2^63 - 1 bytes
        (b"\x3a" + b"\xff" * 9 + b"\x01", "incomplete"),  # 2^64 - 1: no step back
        (VERSION * 20_000, "too many fields"),
        (b"\x00" * 100_000, "not an ONNX file"),
    ],
)
def test_what_is_no_whole_file(check, data, reason):
    """Other formats, unknown types, and numbers that are too long or lead out of the file."""
    with pytest.raises(ModelFileInvalid, match=reason) as caught:
        check(data)
    assert "model.onnx" in str(caught.value)


def test_every_changed_byte_is_survived(check):
    """Whatever a byte is changed to, the file is whole or refused."""
    whole = VERSION + PRODUCER + GRAPH + b"\x39" + bytes(8)
    refused = 0
    for position in range(len(whole)):
        for value in range(256):
            try:
                check(whole[:position] + bytes([value]) + whole[position + 1 :])
            except ModelFileInvalid:
                refused += 1
    assert 0 < refused < 256 * len(whole)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_no_file(tmp_path, kind):
    """A path without a file is named."""
    path = tmp_path / "model.onnx"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(ModelFileInvalid, match=r"model\.onnx"):
        check_whole(path)


@pytest.mark.parametrize("size", [2, 100, 20_000])
def test_zeros_are_no_model(check, size):
    """Room that was set aside for a download and never filled is no model."""
    with pytest.raises(ModelFileInvalid, match="not an ONNX file"):
        check(bytes(size))
