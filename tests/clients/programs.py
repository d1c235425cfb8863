"""Programs of clients that run one case after another, and those for Node with their packages."""

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.clients.prepared import prepared

SOURCES = Path(__file__).parent / "node"
OLDEST = 20
"""The oldest Node that the packages run on, as tried."""


def missing() -> str | None:
    """Return why no program can be run on this machine, or None where it can."""
    for command in ("node", "npm"):
        if shutil.which(command) is None:
            return f"there is no {command} on this machine"
    version = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True)  # noqa: S607 - whichever is on the path
    major = re.match(r"v(\d+)", version.stdout)
    if major is None or int(major[1]) < OLDEST:
        return f"node is {version.stdout.strip()}, at least v{OLDEST} is needed"
    return None


TIMEOUT = 120.0
QUIET = {"NO_COLOR": "1", "CI": "true"}


class Node:
    """The programs of `tests/clients/node`, in a folder of their own with all they need."""

    def __init__(self, document: Path) -> None:
        """Install what package-lock.json says, and compile with the types of *document*."""
        self._document = document
        self._programs: dict[str, Program] = {}
        sources = sorted(one for one in SOURCES.iterdir() if one.is_file())
        version = subprocess.run(["node", "--version"], check=True, capture_output=True)  # noqa: S607 - whichever is on the path
        made_of = [version.stdout, *(file.read_bytes() for file in [*sources, document])]
        self._folder = prepared("node", made_of, self._prepare)

    def _prepare(self, folder: Path) -> None:
        self._folder = folder
        for file in [*SOURCES.glob("*.json"), *SOURCES.glob("*.ts"), SOURCES / ".npmrc"]:
            shutil.copy(file, folder)
        self.run("npm", "ci", "--no-progress", timeout=300)
        # A type that does not fit is an error.
        told = self.command("openapi-typescript", self._document, "--output", "schema.ts")
        assert "warn" not in told.lower(), told
        self.command("tsc")

    def add(self, program: Path) -> Path:
        """Copy *program* to where it finds the packages, and return that path."""
        return Path(shutil.copy(program, self._folder))

    def command(self, name: str, *arguments: str | Path) -> str:
        """Run a command that a package brought, and return what it wrote."""
        return self.run(self._folder / "node_modules/.bin" / name, *arguments)

    def program(self, name: str, *arguments: Any) -> Any:
        """Return what a compiled program makes of one case, in a process that goes on."""
        if name not in self._programs:
            command = ["node", f"built/{name}.js"]
            self._programs[name] = Program(command, self._folder, os.environ | QUIET)
        return self._programs[name].ask(*arguments)

    def close(self) -> None:
        """End the programs."""
        for program in self._programs.values():
            program.close()

    def run(self, *command: str | Path, timeout: float = TIMEOUT) -> str:
        """Run *command* in the folder; what it wrote is the message where it fails."""
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self._folder,
            env=os.environ | QUIET,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


class Program:
    """A process that runs one case after another; see `node/serve.ts`."""

    def __init__(
        self, command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )

    def ask(self, *arguments: Any) -> Any:
        """Return what the case makes of *arguments*; what it throws is why this fails."""
        assert self._process.stdin
        assert self._process.stdout
        stuck = threading.Timer(TIMEOUT, self._process.kill)
        stuck.start()
        try:
            self._process.stdin.write(json.dumps(arguments) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            stuck.cancel()
        assert line, f"{arguments[0]}: the process has ended"
        outcome = json.loads(line)
        assert "thrown" not in outcome, outcome["thrown"]
        return outcome.get("value")

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
