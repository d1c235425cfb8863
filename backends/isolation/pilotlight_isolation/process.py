"""The child process of an engine: its start, its output and its end."""

import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from pilotlight_isolation import wire
from pilotlight_isolation.channel import FrameDecoder, Outbox
from pilotlight_isolation.environment import child_environment
from pilotlight_isolation.row import Row, open_row

logger = logging.getLogger("pilotlight.isolation")

_READ = 1 << 18
_LONGEST_LINE = 1 << 16
"""Bytes of a line of output; a longer one is logged in pieces, since it may never end."""
_EXIT_SECONDS = 5.0
"""How long a process may take to exit once its socket is closed."""


class EngineProcess:
    """A child process with its pipes. Any thread may `send`; one thread at a time may `receive`."""

    def __init__(self, name: str) -> None:
        """Start the process; *name* is the model's, for the log.

        It gets a session of its own, so that signals to the service's process group, such as
        Ctrl-C's, do not reach it: the service closes it once its streams have ended.
        """
        self._name = name
        with ExitStack() as given, ExitStack() as undo:
            self._socket, theirs = socket.socketpair()
            given.enter_context(theirs)
            undo.enter_context(self._socket)
            # The child inherits the read end, and nothing is ever written. However the service
            # ends, the kernel closes the write end and signals the child.
            theirs_alive, self._alive = os.pipe()
            given.callback(os.close, theirs_alive)
            undo.callback(os.close, self._alive)
            row = open_row()
            self.row = Row(row)
            undo.callback(self.row.close)
            self._selector = undo.enter_context(selectors.DefaultSelector())
            self._process = _start(name, (theirs.fileno(), row, theirs_alive))
            undo.pop_all()
        assert self._process.stdout  # noqa: S101 - a pipe was asked for
        self._output = self._process.stdout
        self._frames = FrameDecoder()
        self._line = bytearray()
        self._outbox = Outbox(self._socket, f"to {name}")
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(self._output, selectors.EVENT_READ)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def send(self, message: wire.ToChild) -> None:
        """Send *message*; never waits."""
        self._outbox.send(wire.encode(message))

    def receive(self, seconds: float | None = None) -> Sequence[wire.FromChild] | None:
        """Return the next messages: none after *seconds*, and None once the process has ended.

        Its log records and its output go to the service's log.
        """
        ready = {key.fileobj for key, _ in self._selector.select(seconds)}
        if self._output in ready and not self._log_output():
            self._selector.unregister(self._output)
        if self._socket not in ready:
            return []
        try:
            data = self._socket.recv(_READ)
        except ConnectionError:
            return None
        if not data:
            return None
        messages = [wire.decode_from_child(frame) for frame in self._frames.feed(data)]
        for message in messages:
            if isinstance(message, wire.Logged):
                log = logging.getLogger(message.logger)
                log.log(message.level, "%s: %s", self._name, message.message)
        return [one for one in messages if not isinstance(one, wire.Logged)]

    def kill(self) -> None:
        """Kill the process; does nothing where it has ended."""
        self._process.kill()

    def reap(self) -> str:
        """Wait until the process has ended, close its pipes, and return how it ended.

        Called once, by the thread that receives.
        """
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._output in {key.fileobj for key in self._selector.get_map().values()}:
            os.set_blocking(self._output.fileno(), False)  # a grandchild may hold the other end
            with suppress(BlockingIOError):
                while self._log_output():
                    pass
        self._flush()
        self._outbox.close()
        self._selector.close()
        self._socket.close()
        self._output.close()
        os.close(self._alive)
        self.row.close()
        return _cause(self._process.returncode)

    def _log_output(self) -> bool:
        """Log the lines that the process wrote; return whether more may come."""
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


def _start(name: str, given: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """Start the process with the descriptors that it is *given*."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        # -P: do not import from the working directory.
        # The name shows in `ps`.
        [sys.executable, "-P", "-m", "pilotlight_isolation", *map(str, given), name],
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=given,
        start_new_session=True,
    )


def _cause(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal has no name
        return f"was killed by signal {-status}"
