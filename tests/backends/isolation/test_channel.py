"""Frames on a socket, and errors on their way."""

import socket
from pathlib import Path

import pytest

from pilotlight_backend import (
    BackendError,
    BakingRefused,
    ContextLengthExceeded,
    EngineClosed,
    GuideFailed,
    InferenceFailed,
    InsufficientMemory,
    InvalidParameter,
    LoadFailed,
    ModelFileInvalid,
    ModelUnsupported,
)
from pilotlight_backend.testing.conformance.listener import within
from pilotlight_isolation.channel import MAX_FRAME, FrameDecoder, FrameTooLong, Outbox, encode_frame
from pilotlight_isolation.problem import describe, rebuild

FRAMES = [b"one", b"", b"\0" * 300, b"the last"]


def test_frames_are_cut_wherever_they_are_split():
    """Every byte by itself gives the same frames as all in one go."""
    data = b"".join(map(encode_frame, FRAMES))
    assert FrameDecoder().feed(data) == FRAMES
    frames = FrameDecoder()
    assert [one for byte in data for one in frames.feed(bytes([byte]))] == FRAMES


def test_half_a_frame_is_none():
    assert FrameDecoder().feed(encode_frame(b"whole")[:-1]) == []


def test_a_frame_that_nobody_can_mean_is_refused():
    """It is not waited for: its bytes would be kept until all of them are there."""
    frames = FrameDecoder()
    assert frames.feed(encode_frame(b"whole") + MAX_FRAME.to_bytes(4, "little")) == [b"whole"]
    with pytest.raises(FrameTooLong, match="a frame of 536870913 bytes"):
        FrameDecoder().feed((MAX_FRAME + 1).to_bytes(4, "little"))


def test_outbox_waits_for_nobody_and_loses_nothing():
    """Ten megabytes are sent without a reader; then all of it arrives, in order."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        outbox = Outbox(ours, "outbox")
        sent = [number.to_bytes(4, "big") * 25_000 for number in range(100)]
        within(lambda: [outbox.send(one) for one in sent], 20)
        frames, received = FrameDecoder(), []
        while len(received) < len(sent):
            received += frames.feed(theirs.recv(1 << 16))
        assert received == sent
        outbox.close()


def test_outbox_closes_while_nobody_reads():
    """What was not sent is dropped, and so is what comes after."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        outbox = Outbox(ours, "outbox")
        outbox.send(bytes(10_000_000))
        within(outbox.close, 20)
        outbox.send(b"late")


def test_outbox_sends_into_the_void_where_the_other_side_has_gone():
    ours, theirs = socket.socketpair()
    with ours:
        outbox = Outbox(ours, "outbox")
        theirs.close()
        outbox.send(b"nobody")
        outbox.close()


ERRORS = [
    BackendError("a"),
    ModelFileInvalid(Path("/models/m.gguf"), "it is torn"),
    ModelUnsupported(Path("/models/m.gguf"), "it draws"),
    LoadFailed("b"),
    InsufficientMemory(5, 3, "context_length 256 would fit"),
    InvalidParameter("top_k", "c"),
    ContextLengthExceeded(9, 8),
    BakingRefused("d"),
    InferenceFailed("e"),
    GuideFailed("f"),
    EngineClosed("g"),
    FileNotFoundError(2, "No such file or directory", "/none/m.baked"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_error_arrives_as_it_left(error):
    """Its type, its words and its values."""
    arrived = rebuild(describe(error))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)


def _below(kind):
    return {kind}.union(*(_below(one) for one in kind.__subclasses__()))


def test_every_error_of_the_contract_is_carried_over():
    """A new class is a new case above: it arrives as itself, with all that it is made with."""
    theirs = {one for one in _below(BackendError) if one.__module__ == BackendError.__module__}
    assert theirs == {type(one) for one in ERRORS if isinstance(one, BackendError)}


class OutOfCells(InferenceFailed):
    """A backend's own."""


def test_unknown_error_arrives_as_the_nearest_known():
    """One of the contract's that it is, or a failure of the engine."""
    assert type(rebuild(describe(OutOfCells("full")))) is InferenceFailed
    arrived = rebuild(describe(ZeroDivisionError("division by zero")))
    assert type(arrived) is InferenceFailed
    assert str(arrived) == "the engine failed with ZeroDivisionError"
