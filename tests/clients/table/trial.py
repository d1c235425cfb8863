"""One client tried: in folders of its own, whatever it does an outcome."""

import subprocess
from pathlib import Path

from tests.clients.table.catalog import Client
from tests.clients.table.environments import binaries
from tests.clients.table.outcome import Case, Outcome
from tests.clients.table.running import Run


def tried(client: Client, url: str, environment: Path, home: Path) -> Outcome:
    """Run *client* against the server at *url*, and return what came of it."""
    folder = home / "folder"
    folder.mkdir(parents=True)
    run = Run(url, client.key, "none", binaries(client, environment), folder, home)
    try:
        cases = run.program(client.run) if isinstance(client.run, str) else client.run(run)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        cases = [Case("runs to its end", str(error))]
    return Outcome(client.version, tuple(cases) or (Case("reports", "no case was reported"),))
