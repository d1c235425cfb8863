"""`pilotlight serve` as a process of its own, and what the kernel knows of it."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from benchmarks.listening import free_port


class Resources(Struct, frozen=True):
    """What a process holds."""

    rss: int
    """Bytes of its memory that are in RAM."""
    descriptors: int
    threads: int


class ServerProcess(Struct, frozen=True):
    """A server that runs."""

    pid: int
    port: int

    def resources(self) -> Resources:
        """Return what it holds now."""
        folder = Path(f"/proc/{self.pid}")
        status = dict(
            line.split(":", 1) for line in (folder / "status").read_text().splitlines() if line
        )
        return Resources(
            rss=int(status["VmRSS"].split()[0]) * 1024,
            descriptors=len(list((folder / "fd").iterdir())),
            threads=int(status["Threads"]),
        )


def command(flags: Mapping[str, object]) -> list[str]:
    """Return the command that serves with *flags*."""
    words = [str(part) for flag in flags.items() for part in flag]
    return [sys.executable, "-m", "pilotlight", "serve", *words]


def environment() -> dict[str, str]:
    """Return the environment of a server that has no settings but its flags."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PILOTLIGHT_")}


@contextmanager
def serving(
    flags: Mapping[str, object], log: Path, *, await_ready: bool = True
) -> Iterator[ServerProcess]:
    """Serve with *flags*; what the server logs is written to *log*.

    When the block begins it is ready or, without *await_ready*, about to listen. Raises
    `RuntimeError` where it ends by itself, or not with status 0.
    """
    port = free_port()
    with (
        log.open("wb") as written,
        subprocess.Popen(  # noqa: S603 - our own command
            command({"--port": port, **flags}),
            stdout=subprocess.DEVNULL,
            stderr=written,
            env=environment(),
        ) as server,
    ):
        try:
            if await_ready:
                _await_ready(f"http://127.0.0.1:{port}/readyz", server)
            yield ServerProcess(server.pid, port)
        finally:
            server.terminate()
    if server.returncode != 0:
        raise RuntimeError(f"the server ended with status {server.returncode}; its log is {log}")


def _await_ready(url: str, server: "subprocess.Popen[bytes]") -> None:
    while server.poll() is None:
        try:
            urllib.request.urlopen(url).close()  # noqa: S310 - an address of this machine
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the server ended: {server.args!r}")
