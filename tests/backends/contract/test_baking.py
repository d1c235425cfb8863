"""The baked prompt's file: written whole or not at all, mapped only where it fits."""

import errno
import os
import struct
import zlib

import pytest
from msgspec.structs import replace

from pilotlight_backend import BakedPrompt
from pilotlight_backend.baking import Origin, Unfit, map_baked, open_baked, write_baked

ORIGIN = Origin(
    backend="fake", build="1", model="aa", template="bb", settings={"parallel": 4, "chunk": 512}
)
STATE = bytes(range(256)) * 40
TOKENS = (1, 2, 3)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.baked"
    write_baked(path, ORIGIN, TOKENS, memoryview(STATE))
    return path


def test_what_was_written_is_mapped(path):
    """Tokens and state come back, the state on a page of its own."""
    with map_baked(path, ORIGIN) as mapped:
        assert mapped.tokens == TOKENS
        assert mapped.state == STATE
    assert path.read_bytes().index(STATE) % 4096 == 0


def test_mapping_outlives_its_file(path):
    """A server goes on with the prompt it has mapped while another one is baked."""
    with map_baked(path, ORIGIN) as mapped:
        write_baked(path, ORIGIN, (4,), memoryview(b"new"))
        assert mapped.state == STATE
    with map_baked(path, ORIGIN) as mapped:
        assert mapped.tokens == (4,)


def test_failed_write_leaves_the_earlier_file(path, monkeypatch):
    """A disk that is full takes nothing away, and nothing half written stays."""

    def full(_file):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_baked(path, ORIGIN, (4,), memoryview(b"new"))
    assert list(path.parent.iterdir()) == [path]
    with map_baked(path, ORIGIN) as mapped:
        assert mapped.tokens == TOKENS


@pytest.mark.parametrize(
    ("ours", "reason"),
    [
        (replace(ORIGIN, backend="other"), "baked with backend 'fake', this is 'other'"),
        (replace(ORIGIN, build="2"), "baked with build '1', this is '2'"),
        (replace(ORIGIN, model="cc"), "baked from another model"),
        (replace(ORIGIN, template="cc"), "baked with another chat template"),
        (replace(ORIGIN, settings={"parallel": 2, "chunk": 512}), "parallel 4, this load has 2"),
        (replace(ORIGIN, settings={"parallel": 4}), "chunk 512, this load has None"),
    ],
)
def test_difference_is_named(path, ours, reason):
    """Who reads the warning knows what to bake anew for."""
    with pytest.raises(Unfit, match=reason):
        map_baked(path, ours)


def test_header_of_another_shape(path):
    """A file with right checksums and a foreign header is refused, and is no crash."""
    preamble = struct.Struct("<8sIIQI")
    header = b'{"tokens": "?"}'
    path.write_bytes(
        preamble.pack(b"PLBAKED1", len(header), zlib.crc32(header), 5, zlib.crc32(b"state"))
        + header
        + b"state"
    )
    with pytest.raises(Unfit, match="invalid header"):
        map_baked(path, ORIGIN)


def test_file_that_cannot_be_mapped(tmp_path, caplog):
    """A folder, or nothing at all, is warned of by its path."""
    for path in (tmp_path, tmp_path / "none"):
        assert open_baked(BakedPrompt(path=path, template="bb"), ORIGIN) is None
        assert f"the baked prompt {path} is ignored: cannot be read" in caplog.text
