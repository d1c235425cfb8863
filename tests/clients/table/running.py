"""One client's run: its folders, its environment variables, its process and what it wrote."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.clients.table.outcome import Case

PROGRAMS = Path(__file__).parent / "programs"
TIMEOUT = 180.0
QUIET = {
    "CI": "true",
    "DO_NOT_TRACK": "1",
    "LANG": "C.UTF-8",
    "NO_COLOR": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}
"""What keeps clients from colours, from questions and from calls of their own."""


@dataclass(frozen=True)
class Run:
    """What a client is given: the address of the server and the model's name among it."""

    url: str
    model: str
    key: str
    binaries: Path
    folder: Path
    """Where it works: empty at first."""
    home: Path

    @property
    def base_url(self) -> str:
        """The address as clients of OpenAI's API want it."""
        return f"{self.url}/v1"

    def repository(self, **files: str) -> None:
        """Make the folder a git repository with *files*, `__` in a name for its point."""
        for name, text in files.items():
            (self.folder / name.replace("__", ".")).write_text(text)
        git = ("git", "-c", "user.name=Test", "-c", "user.email=test@example.com")
        for command in ("init --quiet", "add --all", "commit --quiet --message=Begin"):
            subprocess.run([*git, *command.split()], cwd=self.folder, check=True)

    def command(self, name: str, *arguments: str, **variables: str) -> str:
        """Run a command of the client's environment to its end; return what it wrote.

        Raises `RuntimeError` where it fails, with what it wrote.
        """
        environment = {
            "PATH": f"{self.binaries}:{os.environ['PATH']}",
            "HOME": str(self.home),
            **QUIET,
            **variables,
        }
        done = subprocess.run(  # which is looked for on that PATH
            [name, *arguments],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        (self.home / f"{name}.log").write_text(done.stdout + done.stderr)
        if done.returncode != 0:
            raise RuntimeError(f"{name} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def program(self, name: str) -> list[Case]:
        """Run the program *name*, and return the cases that it reports."""
        variables = {"CLIENT_URL": self.url, "CLIENT_KEY": self.key, "CLIENT_MODEL": self.model}
        if name.endswith(".py"):
            told = self.command("python", str(PROGRAMS / name), **variables)
        else:
            # Node looks for packages from where a program is.
            program = shutil.copy(PROGRAMS / name, self.binaries.parent.parent / name)
            told = self.command("node", str(program), **variables)
        return reported(told)


def reported(told: str) -> list[Case]:
    """Return the cases in what a program wrote; what its client writes beside is passed over."""
    return [
        msgspec.json.decode(line, type=Case)
        for line in told.splitlines()
        if line.startswith('{"case":')
    ]
