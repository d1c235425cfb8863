"""The servers that are compared: how each is started, and what the kernel knows of it."""

import http.client
import json
import os
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from benchmarks.listening import free_port

OURS, LLAMA_SERVER, OURS_DETERMINISTIC = "pilotlight", "llama-server", "deterministic"

_PILOTLIGHT = str(Path(sysconfig.get_path("scripts")) / "pilotlight")
_READY = {OURS: "/readyz", OURS_DETERMINISTIC: "/readyz", LLAMA_SERVER: "/health"}
_OK = 200
_SPECULATION = {
    OURS: ("--speculation", "ngram"),
    OURS_DETERMINISTIC: ("--speculation", "ngram"),
    LLAMA_SERVER: ("--spec-type", "ngram-simple"),
}


class Running(Struct, frozen=True):
    """A server that runs."""

    pid: int
    port: int
    model: str
    began: float
    """The moment of exec, by `time.perf_counter`."""

    def resident(self) -> int:
        """Return the bytes of its memory that are in RAM, mapped weights included."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the kernel does not say what is resident")

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its threads so far."""
        # The name in parentheses may have spaces; utime and stime are the fields 14 and 15.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Servers(Struct, frozen=True):
    """What starts them: the peer's *program*, and the *model* that all serve."""

    program: Path
    model: Path
    models_file: Path
    """Names the model, with its options."""
    threads: int | None = None
    """Compute threads; None: each server's default."""

    @contextmanager
    def running(
        self, name: str, *, slots: int, length: int, wait: bool = True, speculation: bool = False
    ) -> Iterator[Running]:
        """Run a server with so many slots of a length, by default from when it is ready.

        With *speculation* each drafts n-grams with its own defaults.
        """
        port = free_port()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PILOTLIGHT_")}
        began = time.perf_counter()
        server = subprocess.Popen(  # noqa: S603 - our own command
            [*self._command(name, port, slots, length), *(_SPECULATION[name] * speculation)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        try:
            while wait and not _is_ready(port, _READY[name]):
                if server.poll() is not None:
                    raise RuntimeError(f"{name} ended with status {server.returncode}")
                time.sleep(0.05)
            yield Running(server.pid, port, self.model.stem.lower(), began)
        finally:
            server.terminate()
            server.wait()

    def _command(self, name: str, port: int, slots: int, length: int) -> list[str]:
        threads = [] if self.threads is None else ["--threads", str(self.threads)]
        if name == LLAMA_SERVER:
            return [
                str(self.program), "-m", str(self.model), "--port", str(port),
                "-np", str(slots), "-c", str(slots * length), *threads,
            ]  # fmt: skip
        command = [
            _PILOTLIGHT, "serve", "--port", str(port), "--models-file", str(self.models_file),
            "--preload", self.model.stem.lower(), "--parallel", str(slots),
            "--context-length", str(length), *threads,
        ]  # fmt: skip
        return [*command, "--deterministic"] if name == OURS_DETERMINISTIC else command


def write_models_file(path: Path, model: Path) -> Path:
    """Write a models.yaml to *path* that names *model*, and return the path.

    llama-server calls tools in a format of its own where a template shows none.
    """
    options = {"path": str(model), "tool_call_format": "hermes"}
    path.write_text(json.dumps({"models": {model.stem.lower(): options}}))
    return path


def _is_ready(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == _OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
