"""Frames on a socket: a length in four bytes, little-endian, then that many bytes."""

import socket
import struct
import threading
from collections import deque
from contextlib import suppress

_LENGTH = struct.Struct("<I")
_PIECE = 1 << 16
MAX_FRAME = 1 << 29
"""Bytes. The longest frames, images of a prompt and a vocabulary, are below. A process with
corrupted memory may announce four gigabytes, and the service would wait for them."""


class FrameTooLong(Exception):
    """The other side announces a frame longer than `MAX_FRAME`."""


def encode_frame(frame: bytes) -> bytes:
    """Return *frame* behind its length."""
    return _LENGTH.pack(len(frame)) + frame


class FrameDecoder:
    """Cuts the bytes from a socket into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add *data* and return the frames that are complete now. Raises `FrameTooLong`."""
        self._buffer += data
        frames = []
        start = 0
        while (begin := start + _LENGTH.size) <= len(self._buffer):
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > MAX_FRAME:
                raise FrameTooLong(f"a frame of {length} bytes; at most {MAX_FRAME} are allowed")
            if begin + length > len(self._buffer):
                break
            with memoryview(self._buffer) as whole:  # a slice of the buffer would be copied twice
                frames.append(bytes(whole[begin : begin + length]))
            start = begin + length
        del self._buffer[:start]
        return frames


class Outbox:
    """Sends frames without waiting: a thread sends what the socket does not take at once.

    The event loop sends through it, and the other side may hang.
    """

    def __init__(self, connection: socket.socket, name: str) -> None:
        """*name* is the thread's, which starts when the socket is full for the first time."""
        self._connection = connection
        self._name = name
        self._changed = threading.Condition()
        self._unsent: deque[memoryview] = deque()
        """The rests of frames, which are not copied: images have many megabytes."""
        self._closed = False
        self._thread: threading.Thread | None = None

    def send(self, frame: bytes) -> None:
        """Send *frame* after the earlier ones; drop it where the other side has closed."""
        data = memoryview(encode_frame(frame))
        with self._changed:
            if self._closed:
                return
            if not self._unsent:
                data = data[self._send_now(data) :]
            if data:
                self._unsent.append(data)
                self._changed.notify()
                self._start()

    def close(self) -> None:
        """Shut the socket down, drop what is not sent, and wait for the thread to end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        with suppress(OSError):  # the other side may have gone
            self._connection.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join()

    def _send_now(self, data: memoryview) -> int:
        try:
            return self._connection.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError:  # the reader learns that the other side has closed
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
                if rest := self._unsent[0][sent:]:
                    self._unsent[0] = rest
                else:
                    self._unsent.popleft()

    def _next(self) -> memoryview | None:
        with self._changed:
            self._changed.wait_for(lambda: self._unsent or self._closed)
            return None if self._closed else self._unsent[0][:_PIECE]
