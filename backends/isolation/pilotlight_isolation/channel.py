"""Frames on a socket: each is its length, four bytes, and so many bytes."""

import socket
import struct
import threading
from contextlib import suppress

_LENGTH = struct.Struct("<I")
_PIECE = 1 << 16
MAX_FRAME = 1 << 29
"""Bytes of a frame. The longest that there are, a text to tokenise and a vocabulary, are far below;
a process whose memory is no more its own may announce four gigabytes, which would be waited for."""


class FrameTooLong(Exception):
    """The other side announces a frame that it cannot mean."""


def framed(frame: bytes) -> bytes:
    """Return *frame* as it is sent."""
    return _LENGTH.pack(len(frame)) + frame


class Frames:
    """Cuts what comes from a socket into frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take *data*; return the frames that are whole now. Raises `FrameTooLong`."""
        self._held += data
        frames = []
        start = 0
        while (begin := start + _LENGTH.size) <= len(self._held):
            (length,) = _LENGTH.unpack_from(self._held, start)
            if length > MAX_FRAME:
                raise FrameTooLong(f"a frame of {length} bytes, {MAX_FRAME} are the most")
            if begin + length > len(self._held):
                break
            frames.append(bytes(self._held[begin : begin + length]))
            start = begin + length
        del self._held[:start]
        return frames


class Outbox:
    """Sends frames and never waits: what the socket does not take at once, a thread sends.

    The event loop sends here, and the other side may hang.
    """

    def __init__(self, connection: socket.socket, name: str) -> None:
        """*name* is the thread's, which is not there until it is needed."""
        self._connection = connection
        self._name = name
        self._changed = threading.Condition()
        self._left = bytearray()
        self._closed = False
        self._thread: threading.Thread | None = None

    def send(self, frame: bytes) -> None:
        """Send *frame* behind those that were sent before; into the void where nobody reads."""
        data = framed(frame)
        with self._changed:
            if self._closed:
                return
            if not self._left:
                data = data[self._send_now(data) :]
            if data:
                self._left += data
                self._changed.notify()
                self._start()

    def close(self) -> None:
        """Send no more; the thread has ended then. The socket is shut down."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        with suppress(OSError):  # the other side may have gone
            self._connection.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join()

    def _send_now(self, data: bytes) -> int:
        try:
            return self._connection.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError:  # who reads learns that the other side has gone
            return len(data)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (piece := self._next()) is not None:
            try:
                sent = self._connection.send(piece)
            except OSError:
                return
            with self._changed:
                del self._left[:sent]

    def _next(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._left or self._closed)
            return None if self._closed else bytes(self._left[:_PIECE])
