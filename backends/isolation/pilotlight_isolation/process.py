"""The process of an engine: how it is started, heard, and ended."""

import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from pilotlight_isolation import wire
from pilotlight_isolation.channel import Frames, Outbox
from pilotlight_isolation.environment import child_environment
from pilotlight_isolation.row import Row, open_row

logger = logging.getLogger("pilotlight.isolation")

_READ = 1 << 18
_LONGEST_LINE = 1 << 16
"""Bytes of a line that it writes; a longer one is logged in pieces, for it may never end."""
_LAST_SECONDS = 5.0
"""What a process may take to end whose socket is closed."""


class Process:
    """A child, and what leads to it. Heard by one thread at a time, told things by any."""

    def __init__(self, name: str) -> None:
        """Start it; *name* is the model's, for the log.

        It gets a session of its own, so that what is meant for the service's group, Ctrl-C and a
        shell's kill, does not reach it: it ends when its streams have.
        """
        self._name = name
        self._socket, theirs = socket.socketpair()
        # Its other end is the child's. Nobody writes: that this one closes, however the service
        # ends, is what the child is signalled by the kernel.
        theirs_alive, self._alive = os.pipe()
        row = open_row()
        self.row = Row(row)
        given = (theirs.fileno(), row, theirs_alive)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                # -P: the working directory is nowhere to import from.
                # The name is for who looks at the processes.
                [
                    *(sys.executable, "-P", "-m", "pilotlight_isolation"),
                    *(*map(str, given), name),
                ],
                env=child_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=given,
                start_new_session=True,
            )
        except BaseException:
            self._socket.close()
            os.close(self._alive)
            self.row.close()
            raise
        finally:
            theirs.close()
            os.close(theirs_alive)
        assert self._process.stdout  # noqa: S101 - a pipe was asked for
        self._output = self._process.stdout
        self._frames = Frames()
        self._line = bytearray()
        self._outbox = Outbox(self._socket, f"to {name}")
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(self._output, selectors.EVENT_READ)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def tell(self, order: wire.Order) -> None:
        """Send *order*; never waits."""
        self._outbox.send(wire.encode(order))

    def hear(self, seconds: float | None = None) -> Sequence[wire.Word] | None:
        """Return what it says next; nothing after *seconds*, and None once it says no more.

        What it logs, and what it writes, is logged here.
        """
        ready = {key.fileobj for key, _ in self._selector.select(seconds)}
        if self._output in ready and not self._hear_output():
            self._selector.unregister(self._output)
        if self._socket not in ready:
            return []
        try:
            data = self._socket.recv(_READ)
        except ConnectionError:
            return None
        if not data:
            return None
        words = [wire.decode_word(frame) for frame in self._frames.feed(data)]
        for word in words:
            if isinstance(word, wire.Logged):
                log = logging.getLogger(word.logger)
                log.log(word.level, "%s: %s", self._name, word.message)
        return [word for word in words if not isinstance(word, wire.Logged)]

    def kill(self) -> None:
        """End it at once; a no-op where it has ended."""
        self._process.kill()

    def end(self) -> str:
        """Wait for its end, give back all that led to it, and return how it ended.

        Called once, by who heard it.
        """
        try:
            self._process.wait(_LAST_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._output in {key.fileobj for key in self._selector.get_map().values()}:
            os.set_blocking(self._output.fileno(), False)  # a grandchild may hold the other end
            with suppress(BlockingIOError):
                while self._hear_output():
                    pass
        self._flush()
        self._outbox.close()
        self._selector.close()
        self._socket.close()
        self._output.close()
        os.close(self._alive)
        self.row.close()
        return _how(self._process.returncode)

    def _hear_output(self) -> bool:
        """Log the lines that it wrote, and tell whether more may come."""
        data = os.read(self._output.fileno(), _READ)
        *lines, rest = (bytes(self._line) + data).split(b"\n")
        while len(rest) > _LONGEST_LINE:
            lines.append(rest[:_LONGEST_LINE])
            rest = rest[_LONGEST_LINE:]
        self._line = bytearray(rest)
        for line in lines:
            self._log(line)
        return bool(data)

    def _flush(self) -> None:
        line, self._line = bytes(self._line), bytearray()
        self._log(line)

    def _log(self, line: bytes) -> None:
        if text := line.decode("utf-8", "replace").rstrip():
            logger.warning("%s: %s", self._name, text)


def _how(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal has no name
        return f"was ended by signal {-status}"
