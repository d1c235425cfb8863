"""The state of a whole context is split into those of its slots."""

import struct

import pytest

from pilotlight_llama_cpp.whole_states import split

ARCHITECTURE = struct.pack("=I6s", 6, b"gemma3")
LAYERS, ROW = 2, 3


def stream(number, cells, *, transposed=False, sequences=1):
    """Return what llama.cpp writes of a stream: its cells, then the keys and values of layers."""
    if not cells:
        return struct.pack("=I", 0)
    data = struct.pack("=I", cells)
    data += b"".join(struct.pack("=iIi", cell, sequences, number) for cell in range(cells))
    data += struct.pack("=II", transposed, LAYERS)
    keys = bytes(range(ROW * cells))
    data += LAYERS * (struct.pack("=iQ", 1, ROW) + keys)
    if transposed:  # of one byte an element
        return data + LAYERS * (struct.pack("=iII", 1, 1, ROW) + keys)
    return data + LAYERS * (struct.pack("=iQ", 1, ROW) + keys)


def cache(*streams):
    return struct.pack("=I", len(streams)) + b"".join(streams)


def whole(*caches):
    return memoryview(ARCHITECTURE + b"".join(caches))


@pytest.mark.parametrize("transposed", [False, True])
def test_state_of_a_slot_has_its_streams_of_each_cache_and_others_empty(transposed):
    """The first cache is that of full attention, the second that of the window."""
    full = [stream(0, 5, transposed=transposed), stream(1, 0), stream(2, 9, transposed=transposed)]
    window = [stream(0, 4, transposed=transposed), stream(1, 0), stream(2, 8)]
    states = dict(split(whole(cache(*full), cache(*window)), [0, 2], streams=3))
    empty = struct.pack("=I", 0)
    assert {slot: bytes(state) for slot, state in states.items()} == {
        0: struct.pack("=II", 0xAF143CD8, 0)
        + cache(full[0], empty, empty)
        + cache(window[0], empty, empty),
        2: struct.pack("=II", 0xAF143CD8, 2)
        + cache(empty, empty, full[2])
        + cache(empty, empty, window[2]),
    }


def test_state_of_a_slot_can_be_written_to():
    """Of what is read-only, ctypes takes no address without a copy."""
    state = dict(split(whole(cache(stream(0, 2))), [0], streams=1))[0]
    assert not state.readonly


@pytest.mark.parametrize(
    ("state", "wrong"),
    [
        (whole(cache(stream(0, 2)))[:-1], "ends before its last cell"),
        (whole(cache(stream(0, 2)), b"\0"), "ends before its last cell"),
        (whole(cache(stream(0, 2), stream(1, 2))), "another number of streams"),
        (whole(cache(stream(1, 2))), "not of one sequence"),
        (whole(cache(stream(0, 2, sequences=2))), "not of one sequence"),
        (whole(cache(struct.pack("=I", 1 << 30))), "ends before its last cell"),
        (memoryview(b"\xff\xff\xff\x7f"), "ends before its last cell"),
    ],
    ids=["cut off", "more behind it", "streams", "other sequence", "two sequences", "huge", "name"],
)
def test_other_layout_is_refused(state, wrong):
    """So is each state of an llama.cpp that writes it otherwise."""
    with pytest.raises(ValueError, match=wrong):
        list(split(state, [0], streams=1))
