"""Run the clients of the table against a live server, and write the table.

    python -m tests.clients.table               # all of them
    python -m tests.clients.table aider llm     # these; the others' last outcomes are kept
    python -m tests.clients.table --page        # write the table without running any

Environments are made first, by uv and npm. Then the clients run in namespaces of their own, with a
network of the loopback interface alone: what a client tries beside our server fails, and what it
leaves running ends with them.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.clients.table import environments, network, page
from tests.clients.table.catalog import CLIENTS, Client
from tests.clients.table.outcome import Outcome
from tests.clients.table.serving import served
from tests.clients.table.trial import tried

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/clients.md"
UNSHARE = ("unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")


def main(arguments: Sequence[str] | None = None) -> int:
    """Install, run, and write the table; return 1 where a case of a client failed."""
    given = parse(arguments)
    clients = [one for one in CLIENTS if not given.clients or one.key in given.clients]
    if given.inside:
        network.raise_loopback()
        return run(clients, given.folder)
    status = 0 if given.page else install_and_run(clients, given.folder)
    outcomes = {client: read(given.folder, client) for client in CLIENTS}
    PAGE.write_text(page.with_table(PAGE.read_text(), outcomes))
    return status


def install_and_run(clients: Sequence[Client], folder: Path) -> int:
    """Make the environments of *clients*, and run them where they reach nothing but our server."""
    uv = shutil.which("uv") or str(ROOT / ".venv/bin/uv")
    for client in clients:
        environments.install(client, environment(folder, client), uv)
    command = [*UNSHARE, sys.executable, "-m", "tests.clients.table", "--inside"]
    command += ["--folder", str(folder), *[client.key for client in clients]]
    return subprocess.run(command, check=False).returncode


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients.table")
    names = [client.key for client in CLIENTS]
    parser.add_argument("clients", nargs="*", metavar="client", help=", ".join(names))
    parser.add_argument("--folder", type=Path, default=ROOT / "build/clients")
    parser.add_argument("--page", action="store_true", help="write the page of what was seen")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    given.folder = given.folder.absolute()
    unknown = set(given.clients) - set(names)
    if unknown:
        parser.error(f"no such client: {', '.join(sorted(unknown))}")
    return given


def environment(folder: Path, client: Client) -> Path:
    """Return where the packages of *client* are."""
    return folder / "environments" / client.key


def run(clients: Sequence[Client], folder: Path) -> int:
    """Run *clients* one after another; return 1 where a case failed."""
    failed = 0
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    with served(clients, work) as url:
        for client in clients:
            outcome = tried(client, url, environment(folder, client), work / client.key)
            write(folder, client, outcome)
            for case in outcome.cases:
                failed += case.error is not None
                line = f"{client.name}: {case.case}: {case.error or 'passes'}"
                print(line, flush=True)  # noqa: T201 - a command's output
    return 1 if failed else 0


def write(folder: Path, client: Client, outcome: Outcome) -> None:
    """Keep what came of *client*."""
    kept = folder / "outcomes" / f"{client.key}.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(msgspec.json.encode(outcome))


def read(folder: Path, client: Client) -> Outcome:
    """Return what came of the last run of *client*; of this version, or it is an error."""
    kept = folder / "outcomes" / f"{client.key}.json"
    outcome = msgspec.json.decode(kept.read_bytes(), type=Outcome) if kept.is_file() else None
    if outcome is None or outcome.version != client.version:
        raise SystemExit(f"{client.key} was not run in version {client.version}")
    return outcome


if __name__ == "__main__":
    sys.exit(main())
