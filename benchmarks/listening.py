"""Start a server, wait until it listens, and stop it."""

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def listening(command: Sequence[str], port: int) -> Iterator[tuple[float, float]]:
    """Run *command* while the context lasts, which is entered when *port* is open.

    Yields the time of exec by `time.perf_counter`, and the seconds until the port was open.
    """
    began = time.perf_counter()
    server = subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while server.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                time.sleep(0.001)
            else:
                yield began, time.perf_counter() - began
                return
        raise RuntimeError(f"the server ended: {command}")
    finally:
        server.terminate()
        server.wait()
