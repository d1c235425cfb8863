"""Programs for Node: their packages installed as locked, checked by TypeScript, and run."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

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


class Node:
    """The programs of `tests/clients/node`, in a folder of their own with all they need."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def install(self) -> None:
        """Install what package-lock.json says."""
        for file in [*SOURCES.glob("*.json"), *SOURCES.glob("*.ts"), SOURCES / ".npmrc"]:
            shutil.copy(file, self._folder)
        self.run("npm", "ci", "--no-progress", timeout=300)

    def add(self, program: Path) -> Path:
        """Copy *program* to where it finds the packages, and return that path."""
        return Path(shutil.copy(program, self._folder))

    def compile(self, document: Path) -> None:
        """Write the types of *document*, and compile; a type that does not fit is an error."""
        told = self.command("openapi-typescript", document, "--output", "schema.ts")
        assert "warn" not in told.lower(), told
        self.command("tsc")

    def command(self, name: str, *arguments: str | Path) -> str:
        """Run a command that a package brought, and return what it wrote."""
        return self.run(self._folder / "node_modules/.bin" / name, *arguments)

    def program(self, name: str, *arguments: Any) -> Any:
        """Run a compiled program, with arguments that are no text as JSON; return its JSON."""
        texts = [one if isinstance(one, str) else json.dumps(one) for one in arguments]
        return json.loads(self.run("node", f"built/{name}.js", *texts))

    def run(self, *command: str | Path, timeout: float = 120) -> str:
        """Run *command* in the folder; what it wrote is the message where it fails."""
        environment = os.environ | {"NO_COLOR": "1", "CI": "true"}
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self._folder,
            env=environment,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
